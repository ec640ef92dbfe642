#include "server/rpc/convert.h"

#include <algorithm>

#include "client/core/resource_names.h"
#include "server/keys/built_in_roles.h"
#include "server/keys/key_registry.h"

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

// Writes every field: what is left of an earlier use keeps its memory and nothing else.
void SetIdentity(const keys::Identity& identity, v1::Identity* out) {
  out->set_name(core::KeyNameOf(identity.organization, identity.kid));
  out->set_key_id(identity.kid);
  out->set_organization(identity.organization);
  out->set_display_name(identity.display_name);
  out->set_role(identity.role);
  out->clear_permissions();
  for (const std::string& permission : identity.permissions) out->add_permissions(permission);
  out->set_owner(identity.owner);
  if (!out->labels().empty()) out->clear_labels();
  for (const auto& [name, value] : identity.labels) (*out->mutable_labels())[name] = value;
  if (identity.expires_at != keys::Never()) {
    ToProto(identity.expires_at, out->mutable_expire_time());
  } else {
    out->clear_expire_time();
  }
  out->set_secret_version(identity.secret_version);
  out->clear_allowed_cidrs();
  for (const std::string& block : identity.allowed_cidrs) out->add_allowed_cidrs(block);
}

}  // namespace

void ToProto(absl::Time time, google::protobuf::Timestamp* out) {
  const int64_t seconds = absl::ToUnixSeconds(time);
  out->set_seconds(seconds);
  out->set_nanos(static_cast<int>(absl::ToInt64Nanoseconds(time - absl::FromUnixSeconds(seconds))));
}

void ToProto(absl::Duration duration, google::protobuf::Duration* out) {
  duration = std::max(duration, absl::ZeroDuration());
  absl::Duration rest;
  out->set_seconds(absl::IDivDuration(duration, absl::Seconds(1), &rest));
  out->set_nanos(static_cast<int>(absl::ToInt64Nanoseconds(rest)));
}

void ToProto(const core::RevisionToken& revision, v1::Revision* out) {
  // Most answers are about the newest revision, and so was the one before.
  thread_local core::RevisionToken last;
  thread_local std::string text = last.Encode();
  if (revision != last) {
    text = revision.Encode();
    last = revision;
  }
  out->set_number(revision.revision);
  out->set_token(text);
}

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

void ToProto(const keys::Verdict& verdict, v1::VerifyResponse* out) {
  out->set_decision(static_cast<v1::Decision>(verdict.decision));
  if (verdict.identity.has_value()) {
    SetIdentity(*verdict.identity, out->mutable_identity());
  } else {
    out->clear_identity();
  }
  ToProto(std::min(verdict.lease_remaining, verdict.expires_in), out->mutable_max_cache_age());
  ToProto(verdict.lease_remaining, out->mutable_lease_remaining());
  if (verdict.expires_in != absl::InfiniteDuration()) {
    ToProto(verdict.expires_in, out->mutable_expires_in());
  } else {
    out->clear_expires_in();
  }
  ToProto(verdict.revision, out->mutable_revision());
}

}  // namespace latchkey::rpc
