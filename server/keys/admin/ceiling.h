#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
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

// The authorities that together bound what `caller` may give to a key that was created by `creator_kid`: `holder`,
// which is the caller's own, and that of the creator unless it is the caller, "" or deleted. What is given must be at
// most each of them; the first that it exceeds makes the error.
std::vector<Authority> GrantCeilings(const storage::LockedState& state, const Principal& caller,
                                     const Authority& holder, const std::string& creator_kid);

// What a request gives to a key beside the permissions of its role; unset = nothing is given in that dimension, so
// nothing is compared.
struct Grant {
  std::optional<absl::Time> expires_at;                   // The key lives until then.
  std::optional<std::vector<std::string>> allowed_cidrs;  // It may be used from there; empty = from anywhere.
};

// OK if `permissions` (those of `role`) ≤ every ceiling. ROLE_EXCEEDS_CREATOR otherwise.
absl::Status RequireRoleAtMost(const std::string& role, const std::vector<std::string>& permissions,
                               const std::vector<Authority>& ceilings);
// OK if what is given outlives no ceiling (EXPIRY_EXCEEDS_CREATOR otherwise) and every address that it allows is one
// from which each may call (CIDRS_EXCEED_CREATOR otherwise).
absl::Status RequireGrantWithin(const Grant& grant, const std::vector<Authority>& ceilings);

// The standing invariant key ≤ live creator, in every dimension, seen from the creator: DESCENDANTS_EXCEED_CREATOR with
// the count if lowering a key to the permissions `lowered`, and to the end and the addresses that the state's children
// were asked for with, would leave keys that it created above it.
absl::Status RequireDescendantsAtMost(const storage::LockedState& state, const std::vector<std::string>& lowered);

}  // namespace latchkey::keys
