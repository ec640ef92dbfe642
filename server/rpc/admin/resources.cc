#include "server/rpc/admin/resources.h"

#include "client/core/resource_names.h"
#include "server/keys/admin/etag.h"
#include "server/keys/admin/key_registry.h"
#include "server/model/built_in_roles.h"
#include "server/rpc/call/convert.h"

namespace latchkey::rpc {
namespace {

v1::Key::State StateOf(const keys::KeyRecord& key, absl::Time now) {
  switch (keys::KeyRegistry::StateOf(key, now)) {
    case keys::KeyRegistry::State::kActive:
      return v1::Key::STATE_ACTIVE;
    case keys::KeyRegistry::State::kExpired:
      return v1::Key::STATE_EXPIRED;
    case keys::KeyRegistry::State::kDeleted:
      return v1::Key::STATE_DELETED;
  }
  return v1::Key::STATE_UNSPECIFIED;
}

}  // namespace

void ToProto(const keys::KeyRecord& key, absl::Time now, v1::Key* out) {
  out->set_name(core::KeyNameOf(key.organization, key.kid));
  out->set_display_name(key.display_name);
  out->set_role(key.role);
  out->set_owner(key.owner);
  for (const auto& [name, value] : key.labels) (*out->mutable_labels())[name] = value;
  out->set_description(key.description);
  out->set_state(StateOf(key, now));
  if (key.expires_at != keys::Never()) ToProto(key.expires_at, out->mutable_expire_time());
  for (const std::string& block : key.allowed_cidrs) out->add_allowed_cidrs(block);
  if (key.last_used_at != absl::InfinitePast()) ToProto(key.last_used_at, out->mutable_last_used_time());
  out->set_key_hint(key.key_hint);
  out->set_creator(key.creator);
  ToProto(key.created_at, out->mutable_create_time());
  ToProto(key.updated_at, out->mutable_update_time());
  if (key.deleted()) {
    ToProto(key.deleted_at, out->mutable_delete_time());
    if (key.purge_at != keys::Never()) ToProto(key.purge_at, out->mutable_purge_time());
    out->set_delete_reason(static_cast<v1::Reason>(key.delete_reason));
  }
  for (auto version = key.versions.rbegin(); version != key.versions.rend(); ++version) {
    v1::Key::SecretVersion* shown = out->add_secret_versions();
    shown->set_id(version->id);
    ToProto(version->created_at, shown->mutable_create_time());
    if (version->expires_at != keys::Never()) ToProto(version->expires_at, shown->mutable_expire_time());
    if (version->last_used_at != absl::InfinitePast()) ToProto(version->last_used_at, shown->mutable_last_used_time());
  }
  out->set_etag(keys::EtagOf(key.revision));
  out->mutable_revision()->set_number(key.revision);
}

void ToProto(const keys::OrganizationRecord& organization, v1::Organization* out) {
  out->set_name(core::OrganizationNameOf(organization.id));
  out->set_display_name(organization.display_name);
  out->set_state(organization.deleted() ? v1::Organization::STATE_DELETED : v1::Organization::STATE_ACTIVE);
  ToProto(organization.created_at, out->mutable_create_time());
  ToProto(organization.updated_at, out->mutable_update_time());
  if (organization.deleted()) ToProto(organization.deleted_at, out->mutable_delete_time());
  out->set_etag(keys::EtagOf(organization.revision));
  out->mutable_revision()->set_number(organization.revision);
  out->set_max_keys(organization.key_quota());
}

void ToProto(const keys::RoleRecord& role, v1::Role* out) {
  out->set_name(core::RoleNameOf(role.organization, role.id));
  out->set_display_name(role.display_name);
  out->set_description(role.description);
  out->set_documentation_uri(role.documentation_uri);
  for (const std::string& permission : role.permissions) out->add_permissions(permission);
  out->set_built_in(keys::FindBuiltInRole(role.id) != nullptr);
  if (out->built_in()) return;
  ToProto(role.created_at, out->mutable_create_time());
  ToProto(role.updated_at, out->mutable_update_time());
  out->set_etag(keys::EtagOf(role.revision));
  out->mutable_revision()->set_number(role.revision);
}

}  // namespace latchkey::rpc
