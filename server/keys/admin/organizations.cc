#include "server/keys/admin/organizations.h"

#include <utility>

#include "server/base/errors.h"
#include "server/keys/admin/ceiling.h"
#include "server/model/built_in_roles.h"
#include "server/model/change_codec.h"

namespace latchkey::keys {

Organizations::Organizations(storage::KeyStore& store, LogFollower& follower, std::string server)
    : store_(store), follower_(follower), server_(std::move(server)) {}

absl::StatusOr<WithRevision<OrganizationRecord>> Organizations::Create(const Principal& caller, const std::string& id,
                                                                       const std::string& display_name) {
  if (caller.organization != core::kSystemOrganization) return errors::PermissionMissing(kOrganizationsCreate);
  storage::LockPlan plan;
  plan.kids = {caller.kid};
  plan.organization = id;
  plan.lock_organization = true;
  OrganizationRecord organization;
  const auto decide = [&](const storage::LockedState& state) -> absl::StatusOr<storage::Mutation> {
    const absl::StatusOr<Authority> holder = CallerAuthority(state, caller, kOrganizationsCreate);
    if (!holder.ok()) return holder.status();
    if (state.organization) return errors::OrganizationExists(core::OrganizationNameOf(id));
    organization.id = id;
    organization.display_name = display_name.empty() ? id : display_name;
    organization.created_at = state.now;
    organization.updated_at = state.now;
    Change change;
    change.organization = organization;
    change.body =
        EncodeBody(change, Audit{caller.name(), caller.peer, "latchkey.v1.KeyAdmin/CreateOrganization", "", server_});
    storage::Mutation mutation;
    mutation.changes.push_back(std::move(change));
    return mutation;
  };
  const absl::StatusOr<storage::Committed> committed = store_.Commit(plan, decide);
  if (!committed.ok()) return committed.status();
  follower_.Deliver(committed->rows);
  const LogRow& row = committed->rows.back();
  organization.revision = row.rev;
  return WithRevision<OrganizationRecord>{std::move(organization), core::RevisionToken::Of(row.rev, row.chain)};
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
