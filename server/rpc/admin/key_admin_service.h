#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/core/resource_names.h"
#include "latchkey/v1/key_admin.pb.h"
#include "server/base/clock.h"
#include "server/base/work_queue.h"
#include "server/keys/admin/key_registry.h"
#include "server/keys/admin/organizations.h"
#include "server/keys/admin/roles.h"
#include "server/keys/crypto/key_ring_handle.h"
#include "server/keys/replication/log_follower.h"
#include "server/keys/replication/revocation_waiter.h"
#include "server/rpc/admin/page_token.h"
#include "server/rpc/admin/requests.h"
#include "server/rpc/call/call.h"
#include "server/rpc/transport/method_table.h"

namespace latchkey::rpc {

// The door latchkey.v1.KeyAdmin. A request is read and validated before it waits for anything; its handler makes one
// call of the domain and converts back. Handlers block on the database, so they run on `admin`; CreateKey, which also
// waits for an Argon2, runs on `issue`, and DeleteKey, as UpdateKey where it may take something away, on `revoke`, so
// that no number of other calls holds up a revocation; a DeleteKey that waits until it is known everywhere does that on
// `revocation_waits`, after it was committed. A call that finds its queue full is refused with WORKERS_BUSY. Callers
// are authenticated before they get a place there, and again when their turn comes. Thread-safe.
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
  // What DeleteKey asks for.
  struct Removal {
    keys::KeyRemoval removal;
    keys::RevocationWait wait = keys::RevocationWait::kCommitted;
  };
  // What a list call asks for: where its page starts, once its token is open.
  struct PageStart {
    PageRequest page;
    PageScope scope;
    std::string position;  // "" = from the first.
  };
  using DeleteCall = CallOf<v1::DeleteKeyRequest, v1::Key, Removal>;

  // A method whose handler answers when it returns, on one of `workers`.
  template <typename Request, typename Response, typename Wanted>
  void Add(const Method& method, std::function<absl::StatusOr<Wanted>(const Call&, const Request&)> read,
           std::function<base::WorkQueue*(const Wanted&)> workers,
           absl::Status (KeyAdminService::*handler)(const Call&, const Wanted&, Response&));
  absl::StatusOr<PageStart> PageStartOf(const Call& call, absl::StatusOr<PageRequest> page) const;
  // For the page after the item at `position`.
  std::string NextPageToken(const PageStart& start, const std::string& position) const;

  absl::Status CreateKey(const Call& call, const keys::NewKey& wanted, v1::CreateKeyResponse& response);
  absl::Status GetKey(const Call& call, const core::KeyName& name, v1::Key& response);
  absl::Status ListKeys(const Call& call, const PageStart& start, v1::ListKeysResponse& response);
  absl::Status UpdateKey(const Call& call, const keys::KeyEdit& edit, v1::Key& response);
  void DeleteKey(const std::shared_ptr<DeleteCall>& call);
  absl::Status ListRoles(const Call& call, const PageStart& start, v1::ListRolesResponse& response);
  absl::Status CreateOrganization(const Call& call, const keys::NewOrganization& wanted, v1::Organization& response);
  absl::Status UpdateOrganization(const Call& call, const keys::OrganizationEdit& edit, v1::Organization& response);
  absl::Status GetOrganization(const Call& call, const std::string& id, v1::Organization& response);
  absl::Status ListOrganizations(const Call& call, const PageStart& start, v1::ListOrganizationsResponse& response);

  const Dependencies dependencies_;
  MethodTable methods_;
};

}  // namespace latchkey::rpc
