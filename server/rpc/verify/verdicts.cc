#include "server/rpc/verify/verdicts.h"

#include <algorithm>

#include "client/core/resource_names.h"
#include "server/rpc/call/convert.h"

namespace latchkey::rpc {
namespace {

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
  out->set_history(verdict.history);
}

}  // namespace latchkey::rpc
