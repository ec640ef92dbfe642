#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace latchkey::core {

// Format of a key string:
//
//   [label_]lk1_<kid:16>_<secret:43><gen:1><tag:11><crc:6>
//
// 82 characters without a label, base62 digits in the order 0-9A-Za-z. The label (1..15 of [a-z0-9_]) is cosmetic:
// every digest covers only the 82 canonical characters after it. `tag` lets the server drop strings it did not mint
// before any look-up; `crc` (CRC-32, IEEE 802.3) lets anybody drop mistyped ones offline.

inline constexpr std::string_view kMarker = "lk1_";
inline constexpr int kKeyIdLength = 16;
inline constexpr int kSecretLength = 43;
inline constexpr int kTagLength = 11;
inline constexpr int kCrcLength = 6;
inline constexpr int kCanonicalLength = 82;
inline constexpr int kMaxLabelLength = 15;
inline constexpr int kMaxKeyStringLength = kCanonicalLength + kMaxLabelLength + 1;

// The parts of a well-formed key string. Views into the text that was parsed: they live as long as it does.
struct KeyParts {
  std::string_view canonical;  // The 82 characters after any label.
  std::string_view kid;
  std::string_view secret;
  char gen = 0;
  std::string_view tag;
  std::string_view crc;
};

// Well-formed (exact length and alphabet, right CRC) or nullopt, nothing between: no trimming, no case folding. Takes
// well under a microsecond and reads no more than kMaxKeyStringLength characters.
std::optional<KeyParts> ParseKeyString(std::string_view text);

// True if `kid` has the form of a key id.
bool IsKeyId(std::string_view kid);

// True if `label` may stand in front of a key string: "" or 1..15 of [a-z0-9_].
bool IsLabel(std::string_view label);

// The CRC-32 characters of everything before them.
std::string KeyCrc(std::string_view text_before_crc);

// Puts a key string together; the caller has made kid, secret and tag with the right widths.
std::string AssembleKeyString(std::string_view label, std::string_view kid, std::string_view secret, char gen,
                              std::string_view tag);

// For people to recognise a key, with nothing of its secret: "lk1_AbCd…f3Kz" (marker, first 4 of the kid, last 4 of the
// CRC characters).
std::string KeyHint(const KeyParts& parts);

}  // namespace latchkey::core
