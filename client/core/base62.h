#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace latchkey::core {

// Base62 with a fixed width: digits in the order 0-9A-Za-z, most significant first (the layout GitHub's tokens use).
inline constexpr std::string_view kBase62Digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

// True for one of the 62 digits.
bool IsBase62(char c);
// True if every character is a digit; true for "".
bool IsBase62(std::string_view text);

// `number` as exactly `width` digits, zero-padded on the left. Aborts if it does not fit: widths are constants.
std::string Base62(uint64_t number, int width);

// What Base62 made `text` from, at most 11 digits: nullopt if a character is no digit, if there are more of them, or if
// the number does not fit into 64 bits. As each number has one text of a width, comparing numbers compares texts.
std::optional<uint64_t> ParseBase62(std::string_view text);

// `bytes`, read as one big-endian number, as exactly `width` digits. 32 bytes fit in 43, 8 in 11. Aborts if it does not
// fit.
std::string Base62Bytes(std::string_view bytes, int width);

}  // namespace latchkey::core
