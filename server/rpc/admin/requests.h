#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "client/core/resource_names.h"
#include "latchkey/v1/key_admin.pb.h"
#include "server/keys/admin/key_registry.h"
#include "server/keys/admin/organization_decisions.h"
#include "server/keys/replication/revocation_waiter.h"

// KeyAdmin's requests in, values of the domain out. Each function refuses a field that is set and not supported
// (FIELD_NOT_SUPPORTED), checks every value (server/rpc/call/validate.h) and converts; none looks at anything but its
// arguments.
namespace latchkey::rpc {

// What a list call asks. `page_token` is still sealed.
struct PageRequest {
  std::string organization;  // "" for ListOrganizations.
  int page_size = 0;
  std::string page_token;
  bool show_deleted = false;
  bool assignable_only = false;
};

absl::StatusOr<keys::NewKey> NewKeyOf(const v1::CreateKeyRequest& request);
absl::StatusOr<core::KeyName> KeyNameOf(const v1::GetKeyRequest& request);
absl::StatusOr<PageRequest> PageRequestOf(const v1::ListKeysRequest& request);
// Errors beside: MASK_PATH_INVALID. The mask: none or empty = every populated mutable field; "*" alone = all of them.
absl::StatusOr<keys::KeyEdit> KeyEditOf(const v1::UpdateKeyRequest& request);
absl::StatusOr<keys::KeyRemoval> KeyRemovalOf(const v1::DeleteKeyRequest& request);
absl::StatusOr<keys::RevocationWait> RevocationWaitOf(const v1::DeleteKeyRequest& request);
absl::StatusOr<PageRequest> PageRequestOf(const v1::ListRolesRequest& request);
absl::StatusOr<keys::NewOrganization> NewOrganizationOf(const v1::CreateOrganizationRequest& request);
// As KeyEditOf.
absl::StatusOr<keys::OrganizationEdit> OrganizationEditOf(const v1::UpdateOrganizationRequest& request);
absl::StatusOr<std::string> OrganizationIdOf(const v1::GetOrganizationRequest& request);
absl::StatusOr<PageRequest> PageRequestOf(const v1::ListOrganizationsRequest& request);

}  // namespace latchkey::rpc
