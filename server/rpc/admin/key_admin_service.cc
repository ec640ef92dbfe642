#include "server/rpc/admin/key_admin_service.h"

#include <algorithm>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "server/base/errors.h"
#include "server/model/built_in_roles.h"
#include "server/rpc/admin/requests.h"
#include "server/rpc/admin/resources.h"
#include "server/rpc/call/convert.h"
#include "server/rpc/call/unary_method.h"

namespace latchkey::rpc {
namespace {

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

KeyAdminService::KeyAdminService(const Dependencies& dependencies)
    : dependencies_(dependencies), methods_("latchkey.v1.KeyAdmin") {
  base::WorkQueue& workers = dependencies_.admin;
  Add(kCreateKey, dependencies_.issue, &KeyAdminService::CreateKey);
  Add(kGetKey, workers, &KeyAdminService::GetKey);
  Add(kListKeys, workers, &KeyAdminService::ListKeys);
  Add(kUpdateKey, workers, &KeyAdminService::UpdateKey);
  Add(kListRoles, workers, &KeyAdminService::ListRoles);
  Add(kCreateOrganization, workers, &KeyAdminService::CreateOrganization);
  Add(kGetOrganization, workers, &KeyAdminService::GetOrganization);
  Add(kListOrganizations, workers, &KeyAdminService::ListOrganizations);
  methods_.AddUnary("DeleteKey", UnaryMethod<v1::DeleteKeyRequest, v1::Key>{
                                     .method = kDeleteKey,
                                     .workers = &dependencies_.revoke,
                                     .handler = [this](const std::shared_ptr<DeleteCall>& call) { DeleteKey(call); },
                                     .default_deadline =
                                         [this](const v1::DeleteKeyRequest& request) {
                                           return request.wait() == v1::REVOCATION_WAIT_UNSPECIFIED
                                                      ? kDefaultDeadline
                                                      : kDefaultDeadline + core::WithClockError(
                                                                               dependencies_.follower.promised_bound());
                                         }}
                                     .Start(dependencies_.calls));
}

template <typename Request, typename Response>
void KeyAdminService::Add(const Method& method, base::WorkQueue& workers,
                          absl::Status (KeyAdminService::*handler)(const Call&, const Request&, Response&)) {
  const std::string name = method.name;
  methods_.AddUnary(
      name.substr(name.find('/') + 1),
      UnaryMethod<Request, Response>{.method = method,
                                     .workers = &workers,
                                     .handler = Answering<Request, Response>(
                                         [this, handler](const Call& call, const Request& request, Response& response) {
                                           return (this->*handler)(call, request, response);
                                         })}
          .Start(dependencies_.calls));
}

absl::Status KeyAdminService::CreateKey(const Call& call, const v1::CreateKeyRequest& request,
                                        v1::CreateKeyResponse& response) {
  const absl::StatusOr<keys::NewKey> wanted = NewKeyOf(request);
  if (!wanted.ok()) return wanted.status();
  // Issuing is rare, holds one of few workers while it waits, and would have to be asked for again: it may wait as long
  // as its caller does.
  const absl::StatusOr<keys::IssuedKey> issued = dependencies_.keys.Create(call.caller(), *wanted, call.TimeLeft());
  if (!issued.ok()) return issued.status();
  ToProto(issued->key, dependencies_.keys.DatabaseNow(), response.mutable_key());
  ToProto(issued->revision, response.mutable_key()->mutable_revision());
  response.set_key_string(std::string(issued->key_string.Expose()));
  return absl::OkStatus();
}

absl::Status KeyAdminService::GetKey(const Call& call, const v1::GetKeyRequest& request, v1::Key& response) {
  const absl::StatusOr<core::KeyName> name = KeyNameOf(request);
  if (!name.ok()) return name.status();
  const absl::StatusOr<keys::KeyRecord> key = dependencies_.keys.Get(call.caller(), name->organization, name->kid);
  if (!key.ok()) return key.status();
  ToProto(*key, dependencies_.keys.DatabaseNow(), &response);
  return absl::OkStatus();
}

absl::Status KeyAdminService::UpdateKey(const Call& call, const v1::UpdateKeyRequest& request, v1::Key& response) {
  const absl::StatusOr<keys::KeyEdit> edit = KeyEditOf(request);
  if (!edit.ok()) return edit.status();
  const absl::StatusOr<keys::WithRevision<keys::KeyRecord>> key = dependencies_.keys.Update(call.caller(), *edit);
  if (!key.ok()) return key.status();
  ToProto(key->record, dependencies_.keys.DatabaseNow(), &response);
  ToProto(key->revision, response.mutable_revision());
  return absl::OkStatus();
}

void KeyAdminService::DeleteKey(const std::shared_ptr<DeleteCall>& call) {
  keys::RevocationWait wait = keys::RevocationWait::kCommitted;
  int64_t revision = 0;
  const absl::Status deleted = base::Guarded([&]() -> absl::Status {
    const absl::StatusOr<keys::KeyRemoval> removal = KeyRemovalOf(call->request);
    if (!removal.ok()) return removal.status();
    const absl::StatusOr<keys::RevocationWait> wanted = RevocationWaitOf(call->request);
    if (!wanted.ok()) return wanted.status();
    const absl::StatusOr<keys::WithRevision<keys::KeyRecord>> key = dependencies_.keys.Delete(call->caller(), *removal);
    if (!key.ok()) return key.status();
    ToProto(key->record, dependencies_.keys.DatabaseNow(), &call->response);
    ToProto(key->revision, call->response.mutable_revision());
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
  if (!dependencies_.revocation_waits.TryRun(job)) call->Complete(errors::WorkersBusy(kBusyRetryAfter));
}

absl::Status KeyAdminService::CreateOrganization(const Call& call, const v1::CreateOrganizationRequest& request,
                                                 v1::Organization& response) {
  const absl::StatusOr<NewOrganization> wanted = NewOrganizationOf(request);
  if (!wanted.ok()) return wanted.status();
  const absl::StatusOr<keys::WithRevision<keys::OrganizationRecord>> organization =
      dependencies_.organizations.Create(call.caller(), wanted->id, wanted->display_name);
  if (!organization.ok()) return organization.status();
  ToProto(organization->record, &response);
  ToProto(organization->revision, response.mutable_revision());
  return absl::OkStatus();
}

absl::Status KeyAdminService::GetOrganization(const Call& call, const v1::GetOrganizationRequest& request,
                                              v1::Organization& response) {
  const absl::StatusOr<std::string> id = OrganizationIdOf(request);
  if (!id.ok()) return id.status();
  const absl::StatusOr<keys::OrganizationRecord> organization = dependencies_.organizations.Get(call.caller(), *id);
  if (!organization.ok()) return organization.status();
  ToProto(*organization, &response);
  return absl::OkStatus();
}

}  // namespace latchkey::rpc
