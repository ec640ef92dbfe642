#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/types/span.h"
#include "client/core/cidr.h"
#include "client/core/decision.h"

namespace latchkey::core {

// Input of the access decision: what is known of a key whose secret was right, but for what time decides. That
// (lease, expiry) is for the caller to add: server and client read their clocks at different places.
struct KeyStatus {
  bool revoked = false;                                   // Deleted, or its organization is.
  bool disabled = false;                                  // Switched off.
  bool expired = false;                                   // The key, or this secret of it.
  const std::vector<std::string>* permissions = nullptr;  // Its role's; nullptr = the role is gone: it holds nothing.
  absl::Span<const Cidr> allowed_cidrs;                   // Empty = anywhere.
};

// What is asked of it.
struct Wanted {
  const std::vector<std::string>* permissions = nullptr;  // All must be covered; nullptr = none.
  std::string_view client_ip;                             // "" = not said.
};

// The one place where a verdict is formed from a key_status, used by the server and by caches, so that both say the
// same: REVOKED before DISABLED before EXPIRED before CLIENT_NOT_ALLOWED before PERMISSION_DENIED, else ALLOWED. A key
// with allowed_cidrs is CLIENT_NOT_ALLOWED if client_ip is missing or no address. Never allocates.
Decision Judge(const KeyStatus& key_status, const Wanted& wanted);

}  // namespace latchkey::core
