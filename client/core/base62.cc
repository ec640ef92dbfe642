#include "client/core/base62.h"

#include <array>
#include <cstdlib>
#include <vector>

namespace latchkey::core {
namespace {

constexpr uint8_t kNoDigit = 0x80;  // A bit that no digit's value has.
constexpr size_t kLongestNumber = 11;

constexpr std::array<uint8_t, 256> MakeDigitTable() {
  std::array<uint8_t, 256> table{};
  table.fill(kNoDigit);
  for (size_t i = 0; i < kBase62Digits.size(); ++i) {
    table[static_cast<unsigned char>(kBase62Digits[i])] = static_cast<uint8_t>(i);
  }
  return table;
}

constexpr std::array<uint8_t, 256> kValueOf = MakeDigitTable();

}  // namespace

bool IsBase62(char c) { return kValueOf[static_cast<unsigned char>(c)] != kNoDigit; }

bool IsBase62(std::string_view text) {
  uint8_t any = 0;  // No early end: mispredicted branches would cost more than the rest of a key string.
  for (const char c : text) any |= kValueOf[static_cast<unsigned char>(c)];
  return (any & kNoDigit) == 0;
}

std::optional<uint64_t> ParseBase62(std::string_view text) {
  if (text.size() > kLongestNumber || !IsBase62(text)) return std::nullopt;
  unsigned __int128 number = 0;  // 62^11 is nearly three times 2^64.
  for (const char c : text) number = number * 62 + kValueOf[static_cast<unsigned char>(c)];
  if (number >> 64 != 0) return std::nullopt;
  return static_cast<uint64_t>(number);
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
