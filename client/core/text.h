#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace latchkey::core {

// Number of Unicode code points, or nullopt if `text` is not valid UTF-8 (RFC 3629: no overlong forms, no surrogates).
std::optional<size_t> CodePoints(std::string_view text);

// True if `text` holds a character refused in names: controls (Cc), line and paragraph separators (U+2028/2029), or the
// bidirectional overrides and isolates (U+202A–202E, U+2066–2069) that can make a name read as another one. `text` is
// valid UTF-8.
bool HasForbiddenCharacter(std::string_view text);

// `text` with every forbidden character and invalid byte replaced by U+FFFD, so that a terminal shows what was stored
// and obeys nothing in it.
std::string Printable(std::string_view text);

}  // namespace latchkey::core
