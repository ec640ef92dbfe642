#include "client/core/base62.h"

#include <array>
#include <cstdlib>
#include <vector>

namespace latchkey::core {
namespace {

constexpr std::array<uint8_t, 256> MakeDigitTable() {
  std::array<uint8_t, 256> table{};
  for (const char c : kBase62Digits) table[static_cast<unsigned char>(c)] = 1;
  return table;
}

constexpr std::array<uint8_t, 256> kIsDigit = MakeDigitTable();

}  // namespace

bool IsBase62(char c) { return kIsDigit[static_cast<unsigned char>(c)] != 0; }

bool IsBase62(std::string_view text) {
  uint8_t all = 1;  // No early end: mispredicted branches would cost more than the rest of a key string.
  for (const char c : text) all &= kIsDigit[static_cast<unsigned char>(c)];
  return all != 0;
}

std::string Base62(uint64_t number, int width) {
  std::string out(width, '0');
  for (int i = width - 1; i >= 0; --i) {
    out[i] = kBase62Digits[number % 62];
    number /= 62;
  }
  if (number != 0) std::abort();
  return out;
}

std::string Base62Bytes(std::string_view bytes, int width) {
  std::vector<unsigned> number(bytes.begin(), bytes.end());
  for (unsigned& digit : number) digit &= 0xff;
  std::string out(width, '0');
  for (int i = width - 1; i >= 0; --i) {
    unsigned remainder = 0;
    for (unsigned& digit : number) {
      const unsigned value = remainder * 256 + digit;
      digit = value / 62;
      remainder = value % 62;
    }
    out[i] = kBase62Digits[remainder];
  }
  for (const unsigned digit : number) {
    if (digit != 0) std::abort();
  }
  return out;
}

}  // namespace latchkey::core
