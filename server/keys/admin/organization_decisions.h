#pragma once

#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "server/model/change_codec.h"
#include "server/model/key_store.h"
#include "server/model/principal.h"
#include "server/model/records.h"

// What is decided about organizations, as pure functions of what was read under locks.
namespace latchkey::keys {

struct NewOrganization {
  std::string id;
  std::string display_name;
  int max_keys = 0;  // OrganizationRecord::max_keys.
};

// Each set field is written; nothing else changes.
struct OrganizationEdit {
  std::string id;
  std::string etag;  // "" = not checked.
  std::optional<std::string> display_name;
  std::optional<int> max_keys;
};

// The organization as it will be, and what to write; no changes = it is so already.
struct OrganizationDecision {
  OrganizationRecord organization;
  storage::Mutation mutation;
};

// Both: PERMISSION_MISSING for a caller that is not in `system` or no longer holds the permission.
// ORGANIZATION_EXISTS if the id was ever used. `state`: the caller's key and the organization, both locked.
absl::StatusOr<OrganizationDecision> DecideCreateOrganization(const storage::LockedState& state,
                                                              const Principal& caller, const NewOrganization& wanted,
                                                              const Audit& audit);
// ORGANIZATION_NOT_FOUND for one that is deleted or none, ETAG_MISMATCH.
absl::StatusOr<OrganizationDecision> DecideUpdateOrganization(const storage::LockedState& state,
                                                              const Principal& caller, const OrganizationEdit& edit,
                                                              const Audit& audit);

}  // namespace latchkey::keys
