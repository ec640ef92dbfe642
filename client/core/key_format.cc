#include "client/core/key_format.h"

#include <array>
#include <cstdint>

#include "client/core/base62.h"

namespace latchkey::core {
namespace {

constexpr std::array<uint32_t, 256> MakeCrcTable() {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t value = i;
    for (int bit = 0; bit < 8; ++bit) value = (value & 1) ? (value >> 1) ^ 0xEDB88320u : value >> 1;
    table[i] = value;
  }
  return table;
}

uint32_t Crc32(std::string_view text) {
  static constexpr std::array<uint32_t, 256> kTable = MakeCrcTable();
  uint32_t crc = 0xFFFFFFFFu;
  for (const char c : text) crc = (crc >> 8) ^ kTable[(crc ^ static_cast<unsigned char>(c)) & 0xff];
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
  if (KeyCrc(parts.canonical.substr(0, kCanonicalLength - kCrcLength)) != parts.crc) return std::nullopt;
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
