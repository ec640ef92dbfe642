// The lists of KeyAdmin: where a page starts, where it ends, what the next page's token holds.
#include <algorithm>
#include <cstdint>
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
namespace {

PageScope ScopeOf(const Call& call, const PageRequest& page) {
  return {.method = call.method().name,
          .parent = page.organization,
          .show_deleted = page.show_deleted,
          .assignable_only = page.assignable_only,
          .caller_kid = call.caller().kid};
}

// The position in `page`'s token; "" = from the first.
absl::StatusOr<std::string> StartOf(const keys::KeyRingHandle& ring, const PageScope& scope, const PageRequest& page) {
  if (page.page_token.empty()) return std::string();
  return OpenPageToken(*keys::KeyRingHandle::Pin(ring), scope, page.page_token);
}

}  // namespace

absl::Status KeyAdminService::ListKeys(const Call& call, const v1::ListKeysRequest& request,
                                       v1::ListKeysResponse& response) {
  const absl::StatusOr<PageRequest> page = PageRequestOf(request);
  if (!page.ok()) return page.status();
  const PageScope scope = ScopeOf(call, *page);
  const absl::StatusOr<std::string> start = StartOf(dependencies_.ring, scope, *page);
  if (!start.ok()) return start.status();
  storage::KeyQuery query{
      .organization = page->organization, .show_deleted = page->show_deleted, .limit = page->page_size};
  if (!start->empty()) {
    const absl::StatusOr<KeyPosition> position = ParseKeyPosition(*start);
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
    response.set_next_page_token(SealPageToken(*keys::KeyRingHandle::Pin(dependencies_.ring), scope,
                                               FormatKeyPosition({.created_at = last.created_at, .kid = last.kid})));
  }
  return absl::OkStatus();
}

absl::Status KeyAdminService::ListRoles(const Call& call, const v1::ListRolesRequest& request,
                                        v1::ListRolesResponse& response) {
  const absl::StatusOr<PageRequest> page = PageRequestOf(request);
  if (!page.ok()) return page.status();
  const PageScope scope = ScopeOf(call, *page);
  const absl::StatusOr<std::string> start = StartOf(dependencies_.ring, scope, *page);
  if (!start.ok()) return start.status();
  const absl::StatusOr<std::vector<keys::RoleRecord>> roles =
      dependencies_.roles.List(call.caller(), page->organization, page->assignable_only);
  if (!roles.ok()) return roles.status();
  const size_t first = start->empty() ? 0 : FirstRoleAfter(*roles, *start);
  const size_t end = std::min(roles->size(), first + static_cast<size_t>(page->page_size));
  const std::vector<keys::RoleRecord> wanted(roles->begin() + static_cast<int64_t>(first),
                                             roles->begin() + static_cast<int64_t>(end));
  const size_t taken = FillPage(wanted, response.mutable_roles(),
                                [](const keys::RoleRecord& role, v1::Role* out) { ToProto(role, out); });
  if (taken > 0 && first + taken < roles->size()) {
    response.set_next_page_token(
        SealPageToken(*keys::KeyRingHandle::Pin(dependencies_.ring), scope, wanted[taken - 1].id));
  }
  return absl::OkStatus();
}

absl::Status KeyAdminService::ListOrganizations(const Call& call, const v1::ListOrganizationsRequest& request,
                                                v1::ListOrganizationsResponse& response) {
  const absl::StatusOr<PageRequest> page = PageRequestOf(request);
  if (!page.ok()) return page.status();
  const PageScope scope = ScopeOf(call, *page);
  const absl::StatusOr<std::string> start = StartOf(dependencies_.ring, scope, *page);
  if (!start.ok()) return start.status();
  const absl::StatusOr<keys::OrganizationPage> found =
      dependencies_.organizations.List(call.caller(), *start, page->show_deleted, page->page_size);
  if (!found.ok()) return found.status();
  const size_t taken =
      FillPage(found->organizations, response.mutable_organizations(),
               [](const keys::OrganizationRecord& organization, v1::Organization* out) { ToProto(organization, out); });
  if (taken < found->organizations.size() || (found->more && taken > 0)) {
    response.set_next_page_token(
        SealPageToken(*keys::KeyRingHandle::Pin(dependencies_.ring), scope, found->organizations[taken - 1].id));
  }
  return absl::OkStatus();
}

}  // namespace latchkey::rpc
