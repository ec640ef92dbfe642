#include "client/core/redaction.h"

#include "client/core/base62.h"
#include "client/core/key_format.h"

namespace latchkey::core {

std::string Redacted(std::string_view text) {
  constexpr size_t kHead = kMarker.size() + kKeyIdLength + 1;
  std::string out;
  size_t done = 0;
  size_t from = 0;
  while (true) {
    const size_t at = text.find(kMarker, from);
    if (at == std::string_view::npos) break;
    from = at + 1;
    const std::string_view head = text.substr(at, kHead);
    if (head.size() < kHead || head.back() != '_') continue;
    if (!IsBase62(head.substr(kMarker.size(), kKeyIdLength))) continue;
    size_t end = at + kHead;
    while (end < text.size() && IsBase62(text[end])) ++end;
    if (end == at + kHead) continue;
    out.append(text.substr(done, at + kHead - done)).append("[redacted]");
    done = end;
    from = end;
  }
  out.append(text.substr(done));
  return out;
}

}  // namespace latchkey::core
