#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/model/key_store.h"
#include "server/model/principal.h"

// The ceiling: a key never holds what its creator does not hold at that instant. Pure functions of what was read under
// locks (storage::LockedState); nothing here reads memory or a clock.
namespace latchkey::keys {

// What a key can do, in every dimension that is compared: a ≤ b only if every one is.
struct Authority {
  std::vector<std::string> permissions;
  absl::Time expires_at = Never();
  std::vector<std::string> allowed_cidrs;  // Empty = anywhere.
};

// The permissions of a role as the locked state has it; nullptr if there is no such role.
const std::vector<std::string>* FindPermissions(const storage::LockedState& state, const std::string& organization,
                                                const std::string& role);

// What a key holds. A role that is gone holds nothing.
Authority AuthorityOf(const storage::LockedState& state, const KeyRecord& key);

// The caller as the locked state has it. CREDENTIALS_INVALID if its key is deleted or expired by now,
// PERMISSION_MISSING if it no longer holds `permission`.
absl::StatusOr<Authority> CallerAuthority(const storage::LockedState& state, const Principal& caller,
                                          const std::string& permission);

// OK if `permissions` (those of `role`) ≤ the holder's. ROLE_EXCEEDS_CREATOR otherwise.
absl::Status RequireRoleAtMost(const std::string& role, const std::vector<std::string>& permissions,
                               const Authority& holder);
// OK if a key that ends at `expires_at` does not outlive the holder. EXPIRY_EXCEEDS_CREATOR otherwise.
absl::Status RequireEndsWithin(absl::Time expires_at, const Authority& holder);
// OK if every address that `allowed_cidrs` allows is one the holder may call from. CIDRS_EXCEED_CREATOR otherwise.
absl::Status RequireCidrsWithin(const std::vector<std::string>& allowed_cidrs, const Authority& holder);

// The standing invariant role(key) ≤ role(live creator), seen from the creator: DESCENDANTS_EXCEED_CREATOR with the
// count if lowering a key to `lowered` would leave keys that it created above it.
absl::Status RequireDescendantsAtMost(const storage::LockedState& state, const Authority& lowered);

}  // namespace latchkey::keys
