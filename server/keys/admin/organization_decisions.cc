#include "server/keys/admin/organization_decisions.h"

#include <utility>

#include "client/core/resource_names.h"
#include "server/base/errors.h"
#include "server/keys/admin/ceiling.h"
#include "server/keys/admin/etag.h"
#include "server/model/built_in_roles.h"

namespace latchkey::keys {
namespace {

absl::Status RequireSystemCaller(const storage::LockedState& state, const Principal& caller, const char* permission) {
  if (caller.organization != core::kSystemOrganization) return errors::PermissionMissing(permission);
  return CallerAuthority(state, caller, permission).status();
}

OrganizationDecision Write(OrganizationRecord organization, const Audit& audit) {
  Change change;
  change.organization = organization;
  change.body = EncodeBody(change, audit);
  OrganizationDecision decision{.organization = std::move(organization), .mutation = {}};
  decision.mutation.changes.push_back(std::move(change));
  return decision;
}

}  // namespace

absl::StatusOr<OrganizationDecision> DecideCreateOrganization(const storage::LockedState& state,
                                                              const Principal& caller, const NewOrganization& wanted,
                                                              const Audit& audit) {
  if (absl::Status may = RequireSystemCaller(state, caller, kOrganizationsCreate); !may.ok()) return may;
  if (state.organization) return errors::OrganizationExists(core::OrganizationNameOf(wanted.id));
  OrganizationRecord organization;
  organization.id = wanted.id;
  organization.display_name = wanted.display_name.empty() ? wanted.id : wanted.display_name;
  organization.created_at = state.now;
  organization.updated_at = state.now;
  organization.max_keys = wanted.max_keys;
  return Write(std::move(organization), audit);
}

absl::StatusOr<OrganizationDecision> DecideUpdateOrganization(const storage::LockedState& state,
                                                              const Principal& caller, const OrganizationEdit& edit,
                                                              const Audit& audit) {
  if (absl::Status may = RequireSystemCaller(state, caller, kOrganizationsUpdate); !may.ok()) return may;
  const std::string name = core::OrganizationNameOf(edit.id);
  if (!state.organization || state.organization->deleted()) return errors::OrganizationNotFound(name);
  if (!edit.etag.empty() && edit.etag != EtagOf(state.organization->revision)) return errors::EtagMismatch(name);
  OrganizationRecord organization = *state.organization;
  if (edit.display_name) organization.display_name = *edit.display_name;
  if (edit.max_keys) organization.max_keys = *edit.max_keys;
  if (organization == *state.organization) return OrganizationDecision{.organization = organization, .mutation = {}};
  organization.updated_at = state.now;
  return Write(std::move(organization), audit);
}

}  // namespace latchkey::keys
