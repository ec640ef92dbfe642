#include "server/rpc/admin/page_token.h"

#include <string_view>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "client/core/secret.h"
#include "server/base/errors.h"

namespace latchkey::rpc {
namespace {

constexpr size_t kMacSize = 16;
constexpr size_t kMaxTokenSize = 512;

std::string MacOf(const keys::KeyRing& ring, const PageScope& scope, const std::string& position) {
  std::string text = "lk1|page|1";
  // Lengths in front, so that no two scopes read the same.
  for (const std::string* part : {&scope.method, &scope.parent, &scope.caller_kid, &position}) {
    absl::StrAppend(&text, "|", part->size(), ":", *part);
  }
  absl::StrAppend(&text, "|", scope.show_deleted ? 1 : 0, scope.assignable_only ? 1 : 0);
  return ring.TokenMac(text);
}

}  // namespace

std::string SealPageToken(const keys::KeyRing& ring, const PageScope& scope, const std::string& position) {
  return absl::WebSafeBase64Escape(MacOf(ring, scope, position) + position);
}

absl::StatusOr<std::string> OpenPageToken(const keys::KeyRing& ring, const PageScope& scope, const std::string& token) {
  if (token.size() > kMaxTokenSize) return errors::PageTokenInvalid();
  std::string bytes;
  // Decoding forgives padding and white space; one token has one spelling here.
  if (!absl::WebSafeBase64Unescape(token, &bytes) || bytes.size() < kMacSize ||
      absl::WebSafeBase64Escape(bytes) != token) {
    return errors::PageTokenInvalid();
  }
  std::string position = bytes.substr(kMacSize);
  if (!core::ConstantTimeEqual(std::string_view(bytes).substr(0, kMacSize), MacOf(ring, scope, position))) {
    return errors::PageTokenInvalid();
  }
  return position;
}

}  // namespace latchkey::rpc
