#pragma once

#include <memory>

#include "absl/status/status.h"
#include "latchkey/v1/key_admin.pb.h"
#include "server/base/clock.h"
#include "server/base/work_queue.h"
#include "server/keys/admin/key_registry.h"
#include "server/keys/admin/organizations.h"
#include "server/keys/admin/roles.h"
#include "server/keys/crypto/key_ring_handle.h"
#include "server/keys/replication/log_follower.h"
#include "server/keys/replication/revocation_waiter.h"
#include "server/rpc/call/call.h"
#include "server/rpc/transport/method_table.h"

namespace latchkey::rpc {

// The door latchkey.v1.KeyAdmin. Each handler validates, converts, makes one call of the domain and converts back.
// Handlers block on the database, so they run on `admin`; CreateKey, which also waits for an Argon2, runs on `issue`,
// and DeleteKey on `revoke`, so that no number of other calls holds up a revocation; one that waits until it is known
// everywhere does that on `revocation_waits`, after it was committed. A call that finds its queue full is refused with
// WORKERS_BUSY. Callers are authenticated before they get a place there. Thread-safe.
class KeyAdminService {
 public:
  // What it works with; all outlive the service.
  struct Dependencies {
    const CallDependencies& calls;
    keys::KeyRegistry& keys;
    keys::Organizations& organizations;
    keys::Roles& roles;
    const keys::KeyRingHandle& ring;
    base::WorkQueue& admin;
    base::WorkQueue& issue;
    base::WorkQueue& revoke;
    base::WorkQueue& revocation_waits;
    keys::RevocationWaiter& revocations;
    const keys::LogFollower& follower;
    const base::Clock& clock;
  };
  explicit KeyAdminService(const Dependencies& dependencies);
  KeyAdminService(const KeyAdminService&) = delete;
  KeyAdminService& operator=(const KeyAdminService&) = delete;

  // What a transport serves; as long as the service lives.
  const MethodTable& methods() const { return methods_; }

 private:
  using DeleteCall = CallOf<v1::DeleteKeyRequest, v1::Key>;

  // A handler that answers when it returns, on one of `workers`.
  template <typename Request, typename Response>
  void Add(const Method& method, base::WorkQueue& workers,
           absl::Status (KeyAdminService::*handler)(const Call&, const Request&, Response&));

  absl::Status CreateKey(const Call& call, const v1::CreateKeyRequest& request, v1::CreateKeyResponse& response);
  absl::Status GetKey(const Call& call, const v1::GetKeyRequest& request, v1::Key& response);
  absl::Status ListKeys(const Call& call, const v1::ListKeysRequest& request, v1::ListKeysResponse& response);
  absl::Status UpdateKey(const Call& call, const v1::UpdateKeyRequest& request, v1::Key& response);
  void DeleteKey(const std::shared_ptr<DeleteCall>& call);
  absl::Status ListRoles(const Call& call, const v1::ListRolesRequest& request, v1::ListRolesResponse& response);
  absl::Status CreateOrganization(const Call& call, const v1::CreateOrganizationRequest& request,
                                  v1::Organization& response);
  absl::Status GetOrganization(const Call& call, const v1::GetOrganizationRequest& request, v1::Organization& response);
  absl::Status ListOrganizations(const Call& call, const v1::ListOrganizationsRequest& request,
                                 v1::ListOrganizationsResponse& response);

  const Dependencies dependencies_;
  MethodTable methods_;
};

}  // namespace latchkey::rpc
