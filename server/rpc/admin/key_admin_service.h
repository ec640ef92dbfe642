#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "latchkey/v1/key_admin.grpc.pb.h"
#include "server/base/clock.h"
#include "server/base/worker_pool.h"
#include "server/keys/admin/key_registry.h"
#include "server/keys/admin/organizations.h"
#include "server/keys/admin/roles.h"
#include "server/keys/crypto/key_ring.h"
#include "server/keys/replication/log_follower.h"
#include "server/keys/replication/revocation_waiter.h"
#include "server/rpc/admin/requests.h"
#include "server/rpc/call/call.h"

namespace latchkey::rpc {

// latchkey.v1.KeyAdmin. Each handler validates, converts, makes one call of the domain and converts back. Handlers
// block on the database, so they run on `workers`; CreateKey, which also waits for an Argon2, runs on `issue_workers`,
// so that no number of creates holds up a revocation; a DeleteKey that waits until its
// revocation is known everywhere does that on `waiting`, after it was committed. A call that finds its queue full is
// refused with WORKERS_BUSY. Callers are authenticated before they get a place there. Thread-safe.
class KeyAdminService final : public v1::KeyAdmin::CallbackService {
 public:
  // What it works with; all outlive the service.
  struct Dependencies {
    keys::KeyRegistry& keys;
    keys::Organizations& organizations;
    keys::Roles& roles;
    keys::KeyVerifier& verifier;
    const keys::KeyRing& ring;
    base::WorkerPool& workers;
    base::WorkerPool& issue_workers;
    base::WorkerPool& waiting;
    keys::RevocationWaiter& revocations;
    const keys::LogFollower& follower;
    const base::Clock& clock;
    SecurityLog& security_log;
  };
  explicit KeyAdminService(const Dependencies& parts) : dependencies_(parts) {}

  grpc::ServerUnaryReactor* CreateKey(grpc::CallbackServerContext* context, const v1::CreateKeyRequest* request,
                                      v1::CreateKeyResponse* response) override;
  grpc::ServerUnaryReactor* GetKey(grpc::CallbackServerContext* context, const v1::GetKeyRequest* request,
                                   v1::Key* response) override;
  grpc::ServerUnaryReactor* ListKeys(grpc::CallbackServerContext* context, const v1::ListKeysRequest* request,
                                     v1::ListKeysResponse* response) override;
  grpc::ServerUnaryReactor* UpdateKey(grpc::CallbackServerContext* context, const v1::UpdateKeyRequest* request,
                                      v1::Key* response) override;
  grpc::ServerUnaryReactor* DeleteKey(grpc::CallbackServerContext* context, const v1::DeleteKeyRequest* request,
                                      v1::Key* response) override;
  grpc::ServerUnaryReactor* ListRoles(grpc::CallbackServerContext* context, const v1::ListRolesRequest* request,
                                      v1::ListRolesResponse* response) override;
  grpc::ServerUnaryReactor* CreateOrganization(grpc::CallbackServerContext* context,
                                               const v1::CreateOrganizationRequest* request,
                                               v1::Organization* response) override;
  grpc::ServerUnaryReactor* GetOrganization(grpc::CallbackServerContext* context,
                                            const v1::GetOrganizationRequest* request,
                                            v1::Organization* response) override;
  grpc::ServerUnaryReactor* ListOrganizations(grpc::CallbackServerContext* context,
                                              const v1::ListOrganizationsRequest* request,
                                              v1::ListOrganizationsResponse* response) override;

 private:
  using Handler = std::function<absl::Status(const Call&)>;
  // Authenticates, then runs `job` on one of `workers`; it completes the call.
  void Start(const std::shared_ptr<Call>& call, base::WorkerPool& workers,
             std::function<void(const std::shared_ptr<Call>&)> job);
  // The same, and answers with the status of `handler`.
  grpc::ServerUnaryReactor* Run(grpc::CallbackServerContext* context, const Method& method, base::WorkerPool& workers,
                                Handler handler);
  grpc::ServerUnaryReactor* Run(grpc::CallbackServerContext* context, const Method& method, Handler handler) {
    return Run(context, method, dependencies_.workers, std::move(handler));
  }

  void Delete(const std::shared_ptr<Call>& call, const v1::DeleteKeyRequest& request, v1::Key* response);
  absl::Status Create(const Call& call, const v1::CreateKeyRequest& request, v1::CreateKeyResponse* response);
  absl::Status List(const Call& call, const v1::ListKeysRequest& request, v1::ListKeysResponse* response);
  absl::Status List(const Call& call, const v1::ListRolesRequest& request, v1::ListRolesResponse* response);
  absl::Status List(const Call& call, const v1::ListOrganizationsRequest& request,
                    v1::ListOrganizationsResponse* response);

  const Dependencies dependencies_;
};

}  // namespace latchkey::rpc
