#include "server/rpc/admin/key_admin_service.h"

#include <algorithm>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "server/base/errors.h"
#include "server/model/built_in_roles.h"
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
constexpr Method kUpdateOrganization = {"latchkey.v1.KeyAdmin/UpdateOrganization", keys::kOrganizationsUpdate, true};
constexpr Method kGetOrganization = {"latchkey.v1.KeyAdmin/GetOrganization", keys::kOrganizationsRead, false};
constexpr Method kListOrganizations = {"latchkey.v1.KeyAdmin/ListOrganizations", keys::kOrganizationsRead, false};

}  // namespace

KeyAdminService::KeyAdminService(const Dependencies& dependencies)
    : dependencies_(dependencies), methods_("latchkey.v1.KeyAdmin") {
  const auto on = [](base::WorkQueue& queue) { return [&queue](const auto&) { return &queue; }; };
  const auto admin = on(dependencies_.admin);
  Add<v1::CreateKeyRequest, v1::CreateKeyResponse, keys::NewKey>(
      kCreateKey, [](const Call&, const auto& request) { return NewKeyOf(request); }, on(dependencies_.issue),
      &KeyAdminService::CreateKey);
  Add<v1::GetKeyRequest, v1::Key, core::KeyName>(
      kGetKey, [](const Call&, const auto& request) { return KeyNameOf(request); }, admin, &KeyAdminService::GetKey);
  Add<v1::ListKeysRequest, v1::ListKeysResponse, PageStart>(
      kListKeys, [this](const Call& call, const auto& request) { return PageStartOf(call, PageRequestOf(request)); },
      admin, &KeyAdminService::ListKeys);
  Add<v1::UpdateKeyRequest, v1::Key, keys::KeyEdit>(
      kUpdateKey, [](const Call&, const auto& request) { return KeyEditOf(request); },
      [this](const keys::KeyEdit& edit) { return edit.may_lower() ? &dependencies_.revoke : &dependencies_.admin; },
      &KeyAdminService::UpdateKey);
  Add<v1::ListRolesRequest, v1::ListRolesResponse, PageStart>(
      kListRoles, [this](const Call& call, const auto& request) { return PageStartOf(call, PageRequestOf(request)); },
      admin, &KeyAdminService::ListRoles);
  Add<v1::CreateOrganizationRequest, v1::Organization, keys::NewOrganization>(
      kCreateOrganization, [](const Call&, const auto& request) { return NewOrganizationOf(request); }, admin,
      &KeyAdminService::CreateOrganization);
  Add<v1::UpdateOrganizationRequest, v1::Organization, keys::OrganizationEdit>(
      kUpdateOrganization, [](const Call&, const auto& request) { return OrganizationEditOf(request); }, admin,
      &KeyAdminService::UpdateOrganization);
  Add<v1::GetOrganizationRequest, v1::Organization, std::string>(
      kGetOrganization, [](const Call&, const auto& request) { return OrganizationIdOf(request); }, admin,
      &KeyAdminService::GetOrganization);
  Add<v1::ListOrganizationsRequest, v1::ListOrganizationsResponse, PageStart>(
      kListOrganizations,
      [this](const Call& call, const auto& request) { return PageStartOf(call, PageRequestOf(request)); }, admin,
      &KeyAdminService::ListOrganizations);
  methods_.AddUnary(
      "DeleteKey",
      UnaryMethod<v1::DeleteKeyRequest, v1::Key, Removal>{
          .method = kDeleteKey,
          .parts = {.read = [](const Call&, const v1::DeleteKeyRequest& request) -> absl::StatusOr<Removal> {
                      absl::StatusOr<keys::KeyRemoval> removal = KeyRemovalOf(request);
                      if (!removal.ok()) return removal.status();
                      const absl::StatusOr<keys::RevocationWait> wait = RevocationWaitOf(request);
                      if (!wait.ok()) return wait.status();
                      return Removal{*std::move(removal), *wait};
                    },
                    .workers = on(dependencies_.revoke),
                    .handler = [this](const std::shared_ptr<DeleteCall>& call) { DeleteKey(call); }},
          .default_deadline =
              [this](const v1::DeleteKeyRequest& request) {
                return request.wait() == v1::REVOCATION_WAIT_UNSPECIFIED
                           ? kDefaultDeadline
                           : kDefaultDeadline + core::WithClockError(dependencies_.follower.promised_bound());
              }}
          .Start(dependencies_.calls));
}

template <typename Request, typename Response, typename Wanted>
void KeyAdminService::Add(const Method& method, std::function<absl::StatusOr<Wanted>(const Call&, const Request&)> read,
                          std::function<base::WorkQueue*(const Wanted&)> workers,
                          absl::Status (KeyAdminService::*handler)(const Call&, const Wanted&, Response&)) {
  const std::string name = method.name;
  methods_.AddUnary(name.substr(name.find('/') + 1),
                    UnaryMethod<Request, Response, Wanted>{
                        .method = method,
                        .parts = {.read = std::move(read),
                                  .workers = std::move(workers),
                                  .handler = Answering<Request, Response, Wanted>(
                                      [this, handler](const Call& call, const Wanted& wanted, Response& response) {
                                        return (this->*handler)(call, wanted, response);
                                      })}}
                        .Start(dependencies_.calls));
}

absl::Status KeyAdminService::CreateKey(const Call& call, const keys::NewKey& wanted, v1::CreateKeyResponse& response) {
  // Issuing is rare, holds one of few workers while it waits, and would have to be asked for again: it may wait as long
  // as its caller does.
  const absl::StatusOr<keys::IssuedKey> issued = dependencies_.keys.Create(call.caller(), wanted, call.TimeLeft());
  if (!issued.ok()) return issued.status();
  ToProto(issued->key, dependencies_.keys.DatabaseNow(), response.mutable_key());
  ToProto(issued->revision, response.mutable_key()->mutable_revision());
  response.set_key_string(std::string(issued->key_string.Expose()));
  return absl::OkStatus();
}

absl::Status KeyAdminService::GetKey(const Call& call, const core::KeyName& name, v1::Key& response) {
  const absl::StatusOr<keys::KeyRecord> key = dependencies_.keys.Get(call.caller(), name.organization, name.kid);
  if (!key.ok()) return key.status();
  ToProto(*key, dependencies_.keys.DatabaseNow(), &response);
  return absl::OkStatus();
}

absl::Status KeyAdminService::UpdateKey(const Call& call, const keys::KeyEdit& edit, v1::Key& response) {
  const absl::StatusOr<keys::WithRevision<keys::KeyRecord>> key = dependencies_.keys.Update(call.caller(), edit);
  if (!key.ok()) return key.status();
  ToProto(key->record, dependencies_.keys.DatabaseNow(), &response);
  ToProto(key->revision, response.mutable_revision());
  return absl::OkStatus();
}

void KeyAdminService::DeleteKey(const std::shared_ptr<DeleteCall>& call) {
  const keys::RevocationWait wait = call->wanted().wait;
  keys::RevokingChange change;
  const absl::Status deleted = base::Guarded([&]() -> absl::Status {
    const absl::StatusOr<keys::WithRevision<keys::KeyRecord>> key =
        dependencies_.keys.Delete(call->caller(), call->wanted().removal);
    if (!key.ok()) return key.status();
    ToProto(key->record, dependencies_.keys.DatabaseNow(), &call->response);
    ToProto(key->revision, call->response.mutable_revision());
    change = {.revision = key->revision.revision, .organization = key->record.organization};
    return absl::OkStatus();
  });
  if (!deleted.ok() || wait == keys::RevocationWait::kCommitted) {
    call->Complete(deleted);
    return;
  }
  const base::BootTime committed_at = dependencies_.clock.BootNow();
  const base::BootTime deadline = committed_at + std::clamp(call->TimeLeft(), absl::ZeroDuration(), kLongestWait);
  dependencies_.revocation_waits.Run(call->caller().share(), [this, call, change, wait, committed_at,
                                                              deadline](const absl::Status& turn) {
    // Without a turn the key is deleted all the same; who repeats the call waits again.
    call->Complete(
        turn.ok() ? base::Guarded([&] { return dependencies_.revocations.Await(change, wait, committed_at, deadline); })
                  : turn);
  });
}

absl::Status KeyAdminService::CreateOrganization(const Call& call, const keys::NewOrganization& wanted,
                                                 v1::Organization& response) {
  const absl::StatusOr<keys::WithRevision<keys::OrganizationRecord>> organization =
      dependencies_.organizations.Create(call.caller(), wanted);
  if (!organization.ok()) return organization.status();
  ToProto(organization->record, &response);
  ToProto(organization->revision, response.mutable_revision());
  return absl::OkStatus();
}

absl::Status KeyAdminService::UpdateOrganization(const Call& call, const keys::OrganizationEdit& edit,
                                                 v1::Organization& response) {
  const absl::StatusOr<keys::WithRevision<keys::OrganizationRecord>> organization =
      dependencies_.organizations.Update(call.caller(), edit);
  if (!organization.ok()) return organization.status();
  ToProto(organization->record, &response);
  ToProto(organization->revision, response.mutable_revision());
  return absl::OkStatus();
}

absl::Status KeyAdminService::GetOrganization(const Call& call, const std::string& id, v1::Organization& response) {
  const absl::StatusOr<keys::OrganizationRecord> organization = dependencies_.organizations.Get(call.caller(), id);
  if (!organization.ok()) return organization.status();
  ToProto(*organization, &response);
  return absl::OkStatus();
}

}  // namespace latchkey::rpc
