#include "server/keys/admin/organizations.h"

#include <utility>

#include "server/base/errors.h"
#include "server/keys/admin/committed_record.h"
#include "server/model/change_codec.h"

namespace latchkey::keys {

Organizations::Organizations(storage::KeyStore& store, LogFollower& follower, std::string server)
    : store_(store), follower_(follower), server_(std::move(server)) {}

absl::StatusOr<WithRevision<OrganizationRecord>> Organizations::Create(const Principal& caller,
                                                                       const NewOrganization& wanted) {
  const Audit audit{caller.name(), caller.peer, "latchkey.v1.KeyAdmin/CreateOrganization", "", server_};
  return Commit(caller, wanted.id, [&](const storage::LockedState& state) {
    return DecideCreateOrganization(state, caller, wanted, audit);
  });
}

absl::StatusOr<WithRevision<OrganizationRecord>> Organizations::Update(const Principal& caller,
                                                                       const OrganizationEdit& edit) {
  const Audit audit{caller.name(), caller.peer, "latchkey.v1.KeyAdmin/UpdateOrganization", "", server_};
  return Commit(caller, edit.id, [&](const storage::LockedState& state) {
    return DecideUpdateOrganization(state, caller, edit, audit);
  });
}

absl::StatusOr<WithRevision<OrganizationRecord>> Organizations::Commit(const Principal& caller, const std::string& id,
                                                                       DecideOrganization decide) {
  storage::LockPlan plan;
  plan.kids = {caller.kid};
  plan.organization = id;
  plan.lock_organization = true;
  OrganizationDecision decision;
  const absl::StatusOr<storage::Committed> committed =
      store_.Commit(plan, [&](const storage::LockedState& state) -> absl::StatusOr<storage::Mutation> {
        absl::StatusOr<OrganizationDecision> decided = decide(state);
        if (!decided.ok()) return decided.status();
        decision = *std::move(decided);
        return decision.mutation;
      });
  if (!committed.ok()) return committed.status();
  return CommittedRecord(store_, follower_, *committed, std::move(decision.organization));
}

absl::StatusOr<OrganizationRecord> Organizations::Get(const Principal& caller, const std::string& id) {
  const absl::Status none = errors::OrganizationNotFound(core::OrganizationNameOf(id));
  if (!caller.ActsOn(id)) return none;
  absl::StatusOr<std::optional<OrganizationRecord>> organization = store_.ReadOrganization(id);
  if (!organization.ok()) return organization.status();
  if (!*organization) return none;
  return **std::move(organization);
}

absl::StatusOr<OrganizationPage> Organizations::List(const Principal& caller, const std::string& after_id,
                                                     bool show_deleted, int limit) {
  if (caller.organization != core::kSystemOrganization) {
    OrganizationPage page;
    if (caller.organization <= after_id) return page;
    absl::StatusOr<OrganizationRecord> own = Get(caller, caller.organization);
    if (!own.ok()) return own.status();
    if (show_deleted || !own->deleted()) page.organizations.push_back(*std::move(own));
    return page;
  }
  absl::StatusOr<std::vector<OrganizationRecord>> found = store_.ListOrganizations(after_id, show_deleted, limit + 1);
  if (!found.ok()) return found.status();
  OrganizationPage page{*std::move(found), false};
  if (page.organizations.size() > static_cast<size_t>(limit)) {
    page.organizations.resize(limit);
    page.more = true;
  }
  return page;
}

}  // namespace latchkey::keys
