#pragma once

#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "server/keys/admin/organization_decisions.h"
#include "server/keys/replication/log_follower.h"
#include "server/model/key_store.h"
#include "server/model/principal.h"
#include "server/model/records.h"
#include "server/model/with_revision.h"

namespace latchkey::keys {

struct OrganizationPage {
  std::vector<OrganizationRecord> organizations;
  bool more = false;
};

// Creates, changes and reads organizations. Values are already validated (server/rpc). Thread-safe; calls may block.
class Organizations {
 public:
  Organizations(storage::KeyStore& store, LogFollower& follower, std::string server);

  // The caller is in `system` (PERMISSION_MISSING otherwise). ORGANIZATION_EXISTS if the id was ever used. A new
  // organization has no key: a `system` owner mints its first.
  absl::StatusOr<WithRevision<OrganizationRecord>> Create(const Principal& caller, const NewOrganization& wanted);
  // Likewise for callers in `system`. Errors beside: ORGANIZATION_NOT_FOUND, ETAG_MISMATCH.
  absl::StatusOr<WithRevision<OrganizationRecord>> Update(const Principal& caller, const OrganizationEdit& edit);
  // ORGANIZATION_NOT_FOUND also for one that the caller does not act on.
  absl::StatusOr<OrganizationRecord> Get(const Principal& caller, const std::string& id);
  // By id. A caller outside `system` sees its own only.
  absl::StatusOr<OrganizationPage> List(const Principal& caller, const std::string& after_id, bool show_deleted,
                                        int limit);

 private:
  using DecideOrganization = absl::FunctionRef<absl::StatusOr<OrganizationDecision>(const storage::LockedState& state)>;
  absl::StatusOr<WithRevision<OrganizationRecord>> Commit(const Principal& caller, const std::string& id,
                                                          DecideOrganization decide);

  storage::KeyStore& store_;
  LogFollower& follower_;
  const std::string server_;
};

}  // namespace latchkey::keys
