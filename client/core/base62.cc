#include "client/core/base62.h"

#include <cstdlib>
#include <vector>

namespace latchkey::core {

bool IsBase62(char c) { return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z'); }

bool IsBase62(std::string_view text) {
  for (const char c : text) {
    if (!IsBase62(c)) return false;
  }
  return true;
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
