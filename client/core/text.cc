#include "client/core/text.h"

#include <cstdint>

namespace latchkey::core {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

// The code point at the front of `text` and its size in bytes; size 0 if the bytes there are not UTF-8.
struct Decoded {
  uint32_t point = 0;
  size_t size = 0;
};

Decoded DecodeFront(std::string_view text) {
  const auto byte = [&text](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(0);
  if (lead < 0x80) return {lead, 1};
  size_t size = 0;
  uint32_t point = 0;
  uint32_t least = 0;
  if ((lead & 0xE0) == 0xC0) {
    size = 2, point = lead & 0x1F, least = 0x80;
  } else if ((lead & 0xF0) == 0xE0) {
    size = 3, point = lead & 0x0F, least = 0x800;
  } else if ((lead & 0xF8) == 0xF0) {
    size = 4, point = lead & 0x07, least = 0x10000;
  } else {
    return {};
  }
  if (text.size() < size) return {};
  for (size_t i = 1; i < size; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return {};
    point = (point << 6) | (byte(i) & 0x3F);
  }
  const bool surrogate = point >= 0xD800 && point <= 0xDFFF;
  if (point < least || point > 0x10FFFF || surrogate) return {};
  return {point, size};
}

bool Forbidden(uint32_t point) {
  return point < 0x20 || (point >= 0x7F && point <= 0x9F) || point == 0x2028 || point == 0x2029 ||
         (point >= 0x202A && point <= 0x202E) || (point >= 0x2066 && point <= 0x2069);
}

}  // namespace

std::optional<size_t> CodePoints(std::string_view text) {
  size_t count = 0;
  while (!text.empty()) {
    const Decoded front = DecodeFront(text);
    if (front.size == 0) return std::nullopt;
    text.remove_prefix(front.size);
    ++count;
  }
  return count;
}

bool HasForbiddenCharacter(std::string_view text) {
  while (!text.empty()) {
    const Decoded front = DecodeFront(text);
    if (front.size == 0 || Forbidden(front.point)) return true;
    text.remove_prefix(front.size);
  }
  return false;
}

std::string Printable(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const Decoded front = DecodeFront(text);
    if (front.size == 0 || Forbidden(front.point)) {
      out += kReplacement;
    } else {
      out += text.substr(0, front.size);
    }
    text.remove_prefix(front.size == 0 ? 1 : front.size);
  }
  return out;
}

}  // namespace latchkey::core
