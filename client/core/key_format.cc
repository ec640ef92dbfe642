#include "client/core/key_format.h"

#include <array>
#include <cstdint>

#include "client/core/base62.h"

namespace latchkey::core {
namespace {

// tables[k][b]: what byte b still does to the CRC when k zero bytes follow it.
using CrcTables = std::array<std::array<uint32_t, 256>, 8>;

constexpr CrcTables MakeCrcTables() {
  CrcTables tables{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t value = i;
    for (int bit = 0; bit < 8; ++bit) value = (value & 1) ? (value >> 1) ^ 0xEDB88320u : value >> 1;
    tables[0][i] = value;
  }
  for (size_t k = 1; k < tables.size(); ++k) {
    for (uint32_t i = 0; i < 256; ++i) {
      const uint32_t before = tables[k - 1][i];
      tables[k][i] = (before >> 8) ^ tables[0][before & 0xff];
    }
  }
  return tables;
}

// "Slicing-by-8" (Kounavis and Berry, 2005): eight independent look-ups instead of a chain of eight. A cache's hit
// costs as little as the CRC allows.
uint32_t Crc32(std::string_view text) {
  static constexpr CrcTables kTables = MakeCrcTables();
  const auto byte = [&text](size_t i) -> uint32_t { return static_cast<unsigned char>(text[i]); };
  uint32_t crc = 0xFFFFFFFFu;
  for (; text.size() >= 8; text.remove_prefix(8)) {
    crc ^= byte(0) | byte(1) << 8 | byte(2) << 16 | byte(3) << 24;
    crc = kTables[7][crc & 0xff] ^ kTables[6][crc >> 8 & 0xff] ^ kTables[5][crc >> 16 & 0xff] ^ kTables[4][crc >> 24] ^
          kTables[3][byte(4)] ^ kTables[2][byte(5)] ^ kTables[1][byte(6)] ^ kTables[0][byte(7)];
  }
  for (const char c : text) crc = (crc >> 8) ^ kTables[0][(crc ^ static_cast<unsigned char>(c)) & 0xff];
  return crc ^ 0xFFFFFFFFu;
}

}  // namespace

bool IsLabel(std::string_view label) {
  if (label.size() > kMaxLabelLength) return false;
  for (const char c : label) {
    if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_')) return false;
  }
  return true;
}

bool IsKeyId(std::string_view kid) { return kid.size() == kKeyIdLength && IsBase62(kid); }

std::string KeyCrc(std::string_view text_before_crc) { return Base62(Crc32(text_before_crc), kCrcLength); }

std::optional<KeyParts> ParseKeyString(std::string_view text) {
  if (text.size() < kCanonicalLength || text.size() > kMaxKeyStringLength) return std::nullopt;
  const size_t label_size = text.size() - kCanonicalLength;
  if (label_size == 1) return std::nullopt;  // An underscore without a label before it.
  if (label_size > 1 && (text[label_size - 1] != '_' || !IsLabel(text.substr(0, label_size - 1)))) return std::nullopt;

  KeyParts parts;
  parts.canonical = text.substr(label_size);
  std::string_view rest = parts.canonical;
  const auto take = [&rest](size_t size) {
    const std::string_view taken = rest.substr(0, size);
    rest.remove_prefix(size);
    return taken;
  };
  if (take(kMarker.size()) != kMarker) return std::nullopt;
  parts.kid = take(kKeyIdLength);
  if (take(1) != "_") return std::nullopt;
  if (!IsBase62(parts.kid) || !IsBase62(rest)) return std::nullopt;
  parts.secret = take(kSecretLength);
  parts.gen = take(1)[0];
  parts.tag = take(kTagLength);
  parts.crc = take(kCrcLength);
  if (ParseBase62(parts.crc) != Crc32(parts.canonical.substr(0, kCanonicalLength - kCrcLength))) return std::nullopt;
  return parts;
}

std::string AssembleKeyString(std::string_view label, std::string_view kid, std::string_view secret, char gen,
                              std::string_view tag) {
  std::string canonical;
  canonical.reserve(kCanonicalLength);
  canonical.append(kMarker).append(kid).append("_").append(secret).append(1, gen).append(tag);
  canonical += KeyCrc(canonical);
  if (label.empty()) return canonical;
  std::string out;
  out.reserve(kMaxKeyStringLength);
  out.append(label).append("_").append(canonical);
  return out;
}

std::string KeyHint(const KeyParts& parts) {
  std::string hint(kMarker);
  hint.append(parts.kid.substr(0, 4)).append("…").append(parts.crc.substr(kCrcLength - 4));
  return hint;
}

}  // namespace latchkey::core
