#include "client/core/redaction.h"

#include "client/core/base62.h"
#include "client/core/key_format.h"

namespace latchkey::core {

std::string Redacted(std::string_view text) {
  constexpr size_t kHead = kMarker.size() + kKeyIdLength + 1;
  std::string out;
  size_t done = 0;
  // Also from markers within what is redacted already: "lk1_" and 16 digits in front of a key string must not hide it.
  for (size_t at = text.find(kMarker); at != std::string_view::npos; at = text.find(kMarker, at + 1)) {
    const std::string_view head = text.substr(at, kHead);
    if (head.size() < kHead || head.back() != '_') continue;
    if (!IsBase62(head.substr(kMarker.size(), kKeyIdLength))) continue;
    size_t end = at + kHead;
    while (end < text.size() && IsBase62(text[end])) ++end;
    if (end == at + kHead) continue;
    // The head ends after `done`: it ends in an underscore, and what was redacted has none.
    out.append(text.substr(done, at + kHead - done)).append("[redacted]");
    done = end;
  }
  out.append(text.substr(done));
  return out;
}

}  // namespace latchkey::core
