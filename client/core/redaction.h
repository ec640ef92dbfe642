#pragma once

#include <string>
#include <string_view>

namespace latchkey::core {

// `text` with the part after the kid of everything that looks like a key string (`lk1_`, 16 base62, `_`, base62)
// replaced by "[redacted]". Total: never fails, keeps all other bytes. Linear in the text.
std::string Redacted(std::string_view text);

}  // namespace latchkey::core
