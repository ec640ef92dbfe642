#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "server/keys/crypto/key_ring.h"

namespace latchkey::rpc {

// What a page token belongs to: it is worth nothing for another method, other arguments or another caller.
struct PageScope {
  std::string method;
  std::string parent;
  bool show_deleted = false;
  bool assignable_only = false;
  std::string caller_kid;
};

// `position` as an opaque URL-safe string, authenticated together with `scope`.
std::string SealPageToken(const keys::KeyRing& ring, const PageScope& scope, const std::string& position);

// The position in `token`, or PAGE_TOKEN_INVALID for anything but a token sealed with the same scope.
absl::StatusOr<std::string> OpenPageToken(const keys::KeyRing& ring, const PageScope& scope, const std::string& token);

}  // namespace latchkey::rpc
