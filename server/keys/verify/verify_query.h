#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "client/core/presented_key.h"
#include "client/core/revision_token.h"

namespace latchkey::keys {

// One question to the verifier: a key string and what it must be good for. The views are into the request that was read
// (server/rpc/verify/verify_requests.h) and live as long as it.
struct VerifyQuery {
  core::PresentedKey key;
  std::string_view client_ip;  // An address, or "" = not said.
  std::vector<std::string> required_permissions;
  std::optional<core::RevisionToken> min_revision;
  bool fresh = false;
};

// Who asks it.
struct VerifyAsker {
  std::string organization;  // A key of another one is NOT_FOUND; "" or `system` = every organization.
  std::string share;         // Principal::share.
  std::string address;       // Without a port; "" = none.
};

}  // namespace latchkey::keys
