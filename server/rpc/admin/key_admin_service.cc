#include "server/rpc/admin/key_admin_service.h"

#include <algorithm>
#include <cstdint>
#include <memory>
#include <utility>

#include "server/base/errors.h"
#include "server/model/built_in_roles.h"
#include "server/rpc/admin/resources.h"
#include "server/rpc/call/convert.h"

namespace latchkey::rpc {
namespace {

constexpr absl::Duration kBusyRetryAfter = absl::Milliseconds(250);
// No wait is longer than the bound, which is a minute at most.
constexpr absl::Duration kLongestWait = absl::Minutes(2);

constexpr Method kCreateKey = {"latchkey.v1.KeyAdmin/CreateKey", keys::kKeysCreate, true};
constexpr Method kGetKey = {"latchkey.v1.KeyAdmin/GetKey", keys::kKeysRead, false};
constexpr Method kListKeys = {"latchkey.v1.KeyAdmin/ListKeys", keys::kKeysRead, false};
constexpr Method kUpdateKey = {"latchkey.v1.KeyAdmin/UpdateKey", keys::kKeysUpdate, true};
constexpr Method kDeleteKey = {"latchkey.v1.KeyAdmin/DeleteKey", keys::kKeysDelete, true};
constexpr Method kListRoles = {"latchkey.v1.KeyAdmin/ListRoles", keys::kRolesRead, false};
constexpr Method kCreateOrganization = {"latchkey.v1.KeyAdmin/CreateOrganization", keys::kOrganizationsCreate, true};
constexpr Method kGetOrganization = {"latchkey.v1.KeyAdmin/GetOrganization", keys::kOrganizationsRead, false};
constexpr Method kListOrganizations = {"latchkey.v1.KeyAdmin/ListOrganizations", keys::kOrganizationsRead, false};

}  // namespace

void KeyAdminService::Start(const std::shared_ptr<Call>& call, base::WorkerPool& workers,
                            std::function<void(const std::shared_ptr<Call>&)> job) {
  Call::Authenticate(call, [call, &workers, job = std::move(job)] {
    std::function<void()> queued = [call, job] {
      if (absl::Status wanted = call->StillWanted(); !wanted.ok()) {
        call->Complete(wanted);
      } else {
        job(call);
      }
    };
    if (!workers.TryRun(queued)) call->Complete(errors::WorkersBusy(kBusyRetryAfter));
  });
}

grpc::ServerUnaryReactor* KeyAdminService::Run(grpc::CallbackServerContext* context, const Method& method,
                                               base::WorkerPool& workers, Handler handler) {
  const auto call = std::make_shared<Call>(*context, method, dependencies_.verifier, dependencies_.security_log);
  grpc::ServerUnaryReactor* const reactor = call->reactor();
  Start(call, workers, [handler = std::move(handler)](const std::shared_ptr<Call>& started) {
    started->Complete(base::Guarded([&] { return handler(*started); }));
  });
  return reactor;
}

grpc::ServerUnaryReactor* KeyAdminService::CreateKey(grpc::CallbackServerContext* context,
                                                     const v1::CreateKeyRequest* request,
                                                     v1::CreateKeyResponse* response) {
  return Run(context, kCreateKey, dependencies_.issue_workers,
             [=, this](const Call& call) { return Create(call, *request, response); });
}

absl::Status KeyAdminService::Create(const Call& call, const v1::CreateKeyRequest& request,
                                     v1::CreateKeyResponse* response) {
  const absl::StatusOr<keys::NewKey> wanted = NewKeyOf(request);
  if (!wanted.ok()) return wanted.status();
  // Issuing is rare, holds one of few workers while it waits, and would have to be asked for again: it may wait as long
  // as its caller does.
  const absl::StatusOr<keys::IssuedKey> issued = dependencies_.keys.Create(call.caller(), *wanted, call.TimeLeft());
  if (!issued.ok()) return issued.status();
  ToProto(issued->key, dependencies_.keys.DatabaseNow(), response->mutable_key());
  ToProto(issued->revision, response->mutable_key()->mutable_revision());
  response->set_key_string(std::string(issued->key_string.Expose()));
  return absl::OkStatus();
}

grpc::ServerUnaryReactor* KeyAdminService::GetKey(grpc::CallbackServerContext* context,
                                                  const v1::GetKeyRequest* request, v1::Key* response) {
  return Run(context, kGetKey, [=, this](const Call& call) -> absl::Status {
    const absl::StatusOr<core::KeyName> name = KeyNameOf(*request);
    if (!name.ok()) return name.status();
    const absl::StatusOr<keys::KeyRecord> key = dependencies_.keys.Get(call.caller(), name->organization, name->kid);
    if (!key.ok()) return key.status();
    ToProto(*key, dependencies_.keys.DatabaseNow(), response);
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* KeyAdminService::ListKeys(grpc::CallbackServerContext* context,
                                                    const v1::ListKeysRequest* request,
                                                    v1::ListKeysResponse* response) {
  return Run(context, kListKeys, [=, this](const Call& call) { return List(call, *request, response); });
}

grpc::ServerUnaryReactor* KeyAdminService::UpdateKey(grpc::CallbackServerContext* context,
                                                     const v1::UpdateKeyRequest* request, v1::Key* response) {
  return Run(context, kUpdateKey, [=, this](const Call& call) -> absl::Status {
    const absl::StatusOr<keys::KeyEdit> edit = KeyEditOf(*request);
    if (!edit.ok()) return edit.status();
    const absl::StatusOr<keys::WithRevision<keys::KeyRecord>> key = dependencies_.keys.Update(call.caller(), *edit);
    if (!key.ok()) return key.status();
    ToProto(key->record, dependencies_.keys.DatabaseNow(), response);
    ToProto(key->revision, response->mutable_revision());
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* KeyAdminService::DeleteKey(grpc::CallbackServerContext* context,
                                                     const v1::DeleteKeyRequest* request, v1::Key* response) {
  absl::Duration patience = kDefaultDeadline;
  if (request->wait() != v1::REVOCATION_WAIT_UNSPECIFIED) {
    patience += core::WithClockError(dependencies_.follower.promised_bound());
  }
  const auto call =
      std::make_shared<Call>(*context, kDeleteKey, dependencies_.verifier, dependencies_.security_log, patience);
  grpc::ServerUnaryReactor* const reactor = call->reactor();
  Start(call, dependencies_.workers,
        [=, this](const std::shared_ptr<Call>& started) { Delete(started, *request, response); });
  return reactor;
}

void KeyAdminService::Delete(const std::shared_ptr<Call>& call, const v1::DeleteKeyRequest& request,
                             v1::Key* response) {
  keys::RevocationWait wait = keys::RevocationWait::kCommitted;
  int64_t revision = 0;
  const absl::Status deleted = base::Guarded([&]() -> absl::Status {
    const absl::StatusOr<keys::KeyRemoval> removal = KeyRemovalOf(request);
    if (!removal.ok()) return removal.status();
    const absl::StatusOr<keys::RevocationWait> wanted = RevocationWaitOf(request);
    if (!wanted.ok()) return wanted.status();
    const absl::StatusOr<keys::WithRevision<keys::KeyRecord>> key = dependencies_.keys.Delete(call->caller(), *removal);
    if (!key.ok()) return key.status();
    ToProto(key->record, dependencies_.keys.DatabaseNow(), response);
    ToProto(key->revision, response->mutable_revision());
    revision = key->revision.revision;
    wait = *wanted;
    return absl::OkStatus();
  });
  if (!deleted.ok() || wait == keys::RevocationWait::kCommitted) {
    call->Complete(deleted);
    return;
  }
  const base::BootTime committed_at = dependencies_.clock.BootNow();
  const base::BootTime deadline = committed_at + std::clamp(call->TimeLeft(), absl::ZeroDuration(), kLongestWait);
  std::function<void()> job = [this, call, revision, wait, committed_at, deadline] {
    call->Complete(
        base::Guarded([&] { return dependencies_.revocations.Await(revision, wait, committed_at, deadline); }));
  };
  // The key is deleted; who repeats the call waits again.
  if (!dependencies_.waiting.TryRun(job)) call->Complete(errors::WorkersBusy(kBusyRetryAfter));
}

grpc::ServerUnaryReactor* KeyAdminService::ListRoles(grpc::CallbackServerContext* context,
                                                     const v1::ListRolesRequest* request,
                                                     v1::ListRolesResponse* response) {
  return Run(context, kListRoles, [=, this](const Call& call) { return List(call, *request, response); });
}

grpc::ServerUnaryReactor* KeyAdminService::CreateOrganization(grpc::CallbackServerContext* context,
                                                              const v1::CreateOrganizationRequest* request,
                                                              v1::Organization* response) {
  return Run(context, kCreateOrganization, [=, this](const Call& call) -> absl::Status {
    const absl::StatusOr<NewOrganization> wanted = NewOrganizationOf(*request);
    if (!wanted.ok()) return wanted.status();
    const absl::StatusOr<keys::WithRevision<keys::OrganizationRecord>> organization =
        dependencies_.organizations.Create(call.caller(), wanted->id, wanted->display_name);
    if (!organization.ok()) return organization.status();
    ToProto(organization->record, response);
    ToProto(organization->revision, response->mutable_revision());
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* KeyAdminService::GetOrganization(grpc::CallbackServerContext* context,
                                                           const v1::GetOrganizationRequest* request,
                                                           v1::Organization* response) {
  return Run(context, kGetOrganization, [=, this](const Call& call) -> absl::Status {
    const absl::StatusOr<std::string> id = OrganizationIdOf(*request);
    if (!id.ok()) return id.status();
    const absl::StatusOr<keys::OrganizationRecord> organization = dependencies_.organizations.Get(call.caller(), *id);
    if (!organization.ok()) return organization.status();
    ToProto(*organization, response);
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* KeyAdminService::ListOrganizations(grpc::CallbackServerContext* context,
                                                             const v1::ListOrganizationsRequest* request,
                                                             v1::ListOrganizationsResponse* response) {
  return Run(context, kListOrganizations, [=, this](const Call& call) { return List(call, *request, response); });
}

}  // namespace latchkey::rpc
