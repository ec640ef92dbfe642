#pragma once

#include <string>
#include <string_view>

namespace latchkey::core {

// Redaction of key strings in any text: the part after the kid of all that looks like one (`lk1_`, 16 base62, `_`,
// base62) becomes "[redacted]". Total: never fails, keeps all other bytes. Linear in the text.
std::string Redacted(std::string_view text);

}  // namespace latchkey::core
