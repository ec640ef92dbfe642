// The lists of KeyAdmin: where a page starts, where it ends, what the next page's token holds.
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "server/base/errors.h"
#include "server/model/built_in_roles.h"
#include "server/rpc/admin/key_admin_service.h"
#include "server/rpc/admin/list_page.h"
#include "server/rpc/admin/page_token.h"
#include "server/rpc/admin/requests.h"
#include "server/rpc/admin/resources.h"
#include "server/rpc/call/convert.h"

namespace latchkey::rpc {

absl::StatusOr<KeyAdminService::PageStart> KeyAdminService::PageStartOf(const Call& call,
                                                                        absl::StatusOr<PageRequest> page) const {
  if (!page.ok()) return page.status();
  PageStart start{.page = *std::move(page), .scope = {}, .position = ""};
  start.scope = {.method = call.method().name,
                 .parent = start.page.organization,
                 .show_deleted = start.page.show_deleted,
                 .assignable_only = start.page.assignable_only,
                 .caller_kid = call.caller().kid};
  if (start.page.page_token.empty()) return start;
  absl::StatusOr<std::string> position =
      OpenPageToken(*keys::KeyRingHandle::Pin(dependencies_.ring), start.scope, start.page.page_token);
  if (!position.ok()) return position.status();
  start.position = *std::move(position);
  return start;
}

std::string KeyAdminService::NextPageToken(const PageStart& start, const std::string& position) const {
  return SealPageToken(*keys::KeyRingHandle::Pin(dependencies_.ring), start.scope, position);
}

absl::Status KeyAdminService::ListKeys(const Call& call, const PageStart& start, v1::ListKeysResponse& response) {
  storage::KeyQuery query{
      .organization = start.page.organization, .show_deleted = start.page.show_deleted, .limit = start.page.page_size};
  if (!start.position.empty()) {
    const absl::StatusOr<KeyPosition> position = ParseKeyPosition(start.position);
    if (!position.ok()) return position.status();
    query.before_created_at = position->created_at;
    query.before_kid = position->kid;
  }
  const absl::StatusOr<keys::KeyPage> found = dependencies_.keys.List(call.caller(), query);
  if (!found.ok()) return found.status();
  const absl::Time now = dependencies_.keys.DatabaseNow();
  const size_t taken = FillPage(found->keys, response.mutable_keys(),
                                [now](const keys::KeyRecord& key, v1::Key* out) { ToProto(key, now, out); });
  if (taken < found->keys.size() || (found->more && taken > 0)) {
    const keys::KeyRecord& last = found->keys[taken - 1];
    response.set_next_page_token(
        NextPageToken(start, FormatKeyPosition({.created_at = last.created_at, .kid = last.kid})));
  }
  return absl::OkStatus();
}

absl::Status KeyAdminService::ListRoles(const Call& call, const PageStart& start, v1::ListRolesResponse& response) {
  const absl::StatusOr<keys::RolePage> found = dependencies_.roles.List(
      call.caller(), start.page.organization, start.page.assignable_only, start.position, start.page.page_size);
  if (!found.ok()) return found.status();
  const size_t taken = FillPage(found->roles, response.mutable_roles(),
                                [](const keys::RoleRecord& role, v1::Role* out) { ToProto(role, out); });
  if (taken < found->roles.size()) {
    response.set_next_page_token(NextPageToken(start, found->roles[taken - 1].id));
  } else if (!found->next.empty()) {
    response.set_next_page_token(NextPageToken(start, found->next));
  }
  return absl::OkStatus();
}

absl::Status KeyAdminService::ListOrganizations(const Call& call, const PageStart& start,
                                                v1::ListOrganizationsResponse& response) {
  const absl::StatusOr<keys::OrganizationPage> found =
      dependencies_.organizations.List(call.caller(), start.position, start.page.show_deleted, start.page.page_size);
  if (!found.ok()) return found.status();
  const size_t taken =
      FillPage(found->organizations, response.mutable_organizations(),
               [](const keys::OrganizationRecord& organization, v1::Organization* out) { ToProto(organization, out); });
  if (taken < found->organizations.size() || (found->more && taken > 0)) {
    response.set_next_page_token(NextPageToken(start, found->organizations[taken - 1].id));
  }
  return absl::OkStatus();
}

}  // namespace latchkey::rpc
