#include "server/keys/admin/etag.h"

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace latchkey::keys {

std::string EtagOf(int64_t revision) { return absl::WebSafeBase64Escape(absl::StrCat("1:", revision)); }

}  // namespace latchkey::keys
