#include "server/rpc/admin/list_page.h"

#include <algorithm>
#include <cstdint>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "client/core/key_format.h"
#include "server/base/errors.h"
#include "server/model/built_in_roles.h"

namespace latchkey::rpc {

std::string FormatKeyPosition(const KeyPosition& position) {
  return absl::StrCat(absl::ToUnixNanos(position.created_at), ":", position.kid);
}

absl::StatusOr<KeyPosition> ParseKeyPosition(const std::string& text) {
  const size_t colon = text.find(':');
  int64_t ns = 0;
  if (colon == std::string::npos || !absl::SimpleAtoi(text.substr(0, colon), &ns)) return errors::PageTokenInvalid();
  std::string kid = text.substr(colon + 1);
  if (!core::IsKeyId(kid)) return errors::PageTokenInvalid();
  KeyPosition position{.created_at = absl::FromUnixNanos(ns), .kid = std::move(kid)};
  // SimpleAtoi forgives white space, a plus and leading zeros.
  if (FormatKeyPosition(position) != text) return errors::PageTokenInvalid();
  return position;
}

}  // namespace latchkey::rpc
