#include "server/rpc/admin/requests.h"

#include <string>
#include <utility>

#include "server/base/errors.h"
#include "server/rpc/call/supported_fields.h"
#include "server/rpc/call/validate.h"

namespace latchkey::rpc {
namespace {

constexpr size_t kMaxQuoted = 64;  // Of what was sent, in an error.
constexpr int kMostKeys = 1'000'000;

absl::Status CheckMaxKeys(const v1::Organization& organization) {
  if (organization.max_keys() >= 0 && organization.max_keys() <= kMostKeys) return absl::OkStatus();
  return errors::FieldInvalid("organization.max_keys", "a number from 1 to 1,000,000, or 0 for the default");
}

}  // namespace

absl::StatusOr<core::KeyName> KeyNameOf(const v1::GetKeyRequest& request) {
  static const FieldRules rules{.supported = {"name"}, .ignored = {}};
  if (absl::Status status = CheckSupported(request, rules); !status.ok()) return status;
  return KeyNameIn("name", request.name());
}

absl::StatusOr<PageRequest> PageRequestOf(const v1::ListKeysRequest& request) {
  static const FieldRules rules{.supported = {"parent", "page_size", "page_token", "show_deleted"}, .ignored = {}};
  if (absl::Status status = CheckSupported(request, rules); !status.ok()) return status;
  absl::StatusOr<std::string> organization = OrganizationIdOf("parent", request.parent());
  if (!organization.ok()) return organization.status();
  const absl::StatusOr<int> page_size = PageSizeOf(request.page_size());
  if (!page_size.ok()) return page_size.status();
  return PageRequest{.organization = *std::move(organization),
                     .page_size = *page_size,
                     .page_token = request.page_token(),
                     .show_deleted = request.show_deleted()};
}

absl::StatusOr<keys::KeyRemoval> KeyRemovalOf(const v1::DeleteKeyRequest& request) {
  static const FieldRules rules{.supported = {"name", "etag", "reason", "wait"}, .ignored = {}};
  if (absl::Status status = CheckSupported(request, rules); !status.ok()) return status;
  const absl::StatusOr<core::KeyName> name = KeyNameIn("name", request.name());
  if (!name.ok()) return name.status();
  if (!v1::Reason_IsValid(request.reason())) {
    return errors::FieldInvalid("reason", "UNSPECIFIED, UNUSED, ROTATED, COMPROMISED or OWNER_LEFT");
  }
  return keys::KeyRemoval{.organization = name->organization,
                          .kid = name->kid,
                          .etag = request.etag(),
                          .reason = static_cast<keys::DeleteReason>(request.reason())};
}

absl::StatusOr<keys::RevocationWait> RevocationWaitOf(const v1::DeleteKeyRequest& request) {
  switch (request.wait()) {
    case v1::REVOCATION_WAIT_UNSPECIFIED:
      return keys::RevocationWait::kCommitted;
    case v1::REVOCATION_WAIT_SERVERS:
      return keys::RevocationWait::kServers;
    case v1::REVOCATION_WAIT_ALL:
      return keys::RevocationWait::kAll;
    default:
      return errors::FieldInvalid("wait", "UNSPECIFIED, SERVERS or ALL");
  }
}

absl::StatusOr<PageRequest> PageRequestOf(const v1::ListRolesRequest& request) {
  static const FieldRules rules{.supported = {"parent", "page_size", "page_token", "assignable_only"}, .ignored = {}};
  if (absl::Status status = CheckSupported(request, rules); !status.ok()) return status;
  absl::StatusOr<std::string> organization = OrganizationIdOf("parent", request.parent());
  if (!organization.ok()) return organization.status();
  const absl::StatusOr<int> page_size = PageSizeOf(request.page_size());
  if (!page_size.ok()) return page_size.status();
  return PageRequest{.organization = *std::move(organization),
                     .page_size = *page_size,
                     .page_token = request.page_token(),
                     .assignable_only = request.assignable_only()};
}

absl::StatusOr<keys::NewOrganization> NewOrganizationOf(const v1::CreateOrganizationRequest& request) {
  static const FieldRules rules{
      .supported = {"organization_id", "organization", "organization.display_name", "organization.max_keys"},
      .ignored = {"organization.name", "organization.state", "organization.create_time", "organization.update_time",
                  "organization.delete_time", "organization.etag", "organization.revision"}};
  if (absl::Status status = CheckSupported(request, rules); !status.ok()) return status;
  const char* const wanted = "an id of the form [a-z]([a-z0-9-]{0,61}[a-z0-9])?";
  const std::string& id = request.organization_id();
  if (id.empty()) return errors::FieldRequired("organization_id", wanted);
  if (!core::IsResourceId(id)) return errors::FieldInvalid("organization_id", wanted);
  if (absl::Status status = CheckMaxKeys(request.organization()); !status.ok()) return status;
  keys::NewOrganization organization{.id = id, .display_name = id, .max_keys = request.organization().max_keys()};
  const std::string& display_name = request.organization().display_name();
  if (display_name.empty()) return organization;
  if (absl::Status status = CheckDisplayName("organization.display_name", display_name); !status.ok()) return status;
  organization.display_name = display_name;
  return organization;
}

absl::StatusOr<keys::OrganizationEdit> OrganizationEditOf(const v1::UpdateOrganizationRequest& request) {
  static const FieldRules rules{
      .supported = {"organization", "organization.name", "organization.etag", "organization.display_name",
                    "organization.max_keys", "update_mask"},
      .ignored = {"organization.state", "organization.create_time", "organization.update_time",
                  "organization.delete_time", "organization.revision"}};
  static constexpr char kMutable[] = "display_name, max_keys";
  if (absl::Status status = CheckSupported(request, rules); !status.ok()) return status;
  const v1::Organization& organization = request.organization();
  absl::StatusOr<std::string> id = OrganizationIdOf("organization.name", organization.name());
  if (!id.ok()) return id.status();
  bool display_name = !organization.display_name().empty();
  bool max_keys = organization.max_keys() != 0;
  if (const auto& paths = request.update_mask().paths(); !paths.empty()) {
    const bool all = paths.size() == 1 && paths[0] == "*";
    display_name = max_keys = all;
    for (const std::string& path : paths) {
      display_name |= path == "display_name";
      max_keys |= path == "max_keys";
      if (!all && path != "display_name" && path != "max_keys") {
        return errors::MaskPathInvalid(path.substr(0, kMaxQuoted), kMutable);
      }
    }
  } else if (!display_name && !max_keys) {
    return errors::FieldRequired("organization", std::string("at least one of ") + kMutable);
  }
  keys::OrganizationEdit edit{.id = *std::move(id), .etag = organization.etag()};
  if (display_name) {
    absl::Status status = CheckDisplayName("organization.display_name", organization.display_name());
    if (!status.ok()) return status;
    edit.display_name = organization.display_name();
  }
  if (max_keys) {
    if (absl::Status status = CheckMaxKeys(organization); !status.ok()) return status;
    edit.max_keys = organization.max_keys();
  }
  return edit;
}

absl::StatusOr<std::string> OrganizationIdOf(const v1::GetOrganizationRequest& request) {
  static const FieldRules rules{.supported = {"name"}, .ignored = {}};
  if (absl::Status status = CheckSupported(request, rules); !status.ok()) return status;
  return OrganizationIdOf("name", request.name());
}

absl::StatusOr<PageRequest> PageRequestOf(const v1::ListOrganizationsRequest& request) {
  static const FieldRules rules{.supported = {"page_size", "page_token", "show_deleted"}, .ignored = {}};
  if (absl::Status status = CheckSupported(request, rules); !status.ok()) return status;
  const absl::StatusOr<int> page_size = PageSizeOf(request.page_size());
  if (!page_size.ok()) return page_size.status();
  return PageRequest{
      .page_size = *page_size, .page_token = request.page_token(), .show_deleted = request.show_deleted()};
}

}  // namespace latchkey::rpc
