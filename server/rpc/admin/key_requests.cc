// CreateKey and UpdateKey: the requests that carry a Key.
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "server/base/errors.h"
#include "server/rpc/admin/requests.h"
#include "server/rpc/call/supported_fields.h"
#include "server/rpc/call/validate.h"

namespace latchkey::rpc {
namespace {

constexpr char kMutableFields[] = "display_name, description, role, owner, labels, expire_time, ttl, allowed_cidrs";
constexpr size_t kMaxQuoted = 64;

const std::set<std::string>& MutableFields() {
  static const std::set<std::string> fields = {"display_name", "description", "role", "owner",
                                               "labels",       "expire_time", "ttl",  "allowed_cidrs"};
  return fields;
}

// "key." in front of every mutable field, and `more`.
std::set<std::string> SupportedPaths(std::set<std::string> more) {
  for (const std::string& field : MutableFields()) more.insert("key." + field);
  more.insert("key");
  return more;
}

std::set<std::string> OutputOnlyPaths(std::set<std::string> more) {
  for (const char* field : {"state", "key_hint", "creator", "create_time", "update_time", "delete_time", "purge_time",
                            "delete_reason", "last_used_time", "secret_versions", "revision"}) {
    more.insert(std::string("key.") + field);
  }
  return more;
}

absl::StatusOr<keys::Expiration> ExpirationOf(const v1::Key& key) {
  keys::Expiration expiration;
  if (key.has_expire_time()) {
    const absl::StatusOr<absl::Time> at = TimeOf("key.expire_time", key.expire_time());
    if (!at.ok()) return at.status();
    expiration.at = *at;
  } else if (key.has_ttl()) {
    const absl::StatusOr<absl::Duration> ttl = TtlOf("key.ttl", key.ttl());
    if (!ttl.ok()) return ttl.status();
    expiration.ttl = *ttl;
  }
  return expiration;
}

std::set<std::string> PopulatedFields(const v1::Key& key) {
  std::set<std::string> fields;
  if (!key.display_name().empty()) fields.insert("display_name");
  if (!key.description().empty()) fields.insert("description");
  if (!key.role().empty()) fields.insert("role");
  if (!key.owner().empty()) fields.insert("owner");
  if (!key.labels().empty()) fields.insert("labels");
  if (key.has_expire_time()) fields.insert("expire_time");
  if (key.has_ttl()) fields.insert("ttl");
  if (!key.allowed_cidrs().empty()) fields.insert("allowed_cidrs");
  return fields;
}

// The fields to write.
absl::StatusOr<std::set<std::string>> MaskedFields(const v1::UpdateKeyRequest& request) {
  const auto& paths = request.update_mask().paths();
  if (paths.empty()) {
    std::set<std::string> fields = PopulatedFields(request.key());
    if (fields.empty()) return errors::FieldRequired("key", std::string("at least one of ") + kMutableFields);
    return fields;
  }
  if (paths.size() == 1 && paths[0] == "*") return MutableFields();
  std::set<std::string> fields;
  for (const std::string& path : paths) {
    if (MutableFields().count(path) == 0) {
      return errors::MaskPathInvalid(path.substr(0, kMaxQuoted), kMutableFields);
    }
    fields.insert(path);
  }
  // expire_time and ttl are two spellings of one value. Naming the unset one while the other is set must not turn a key
  // that was meant to end into one that never does.
  const bool at = fields.count("expire_time") > 0;
  const bool ttl = fields.count("ttl") > 0;
  if (at && !ttl && request.key().has_ttl()) {
    return errors::FieldInvalid("update_mask", "ttl, which is what key sets, instead of expire_time");
  }
  if (ttl && !at && request.key().has_expire_time()) {
    return errors::FieldInvalid("update_mask", "expire_time, which is what key sets, instead of ttl");
  }
  return fields;
}

}  // namespace

absl::StatusOr<keys::NewKey> NewKeyOf(const v1::CreateKeyRequest& request) {
  static const FieldRules rules{.supported = SupportedPaths({"parent", "request_id"}),
                                .ignored = OutputOnlyPaths({"key.name", "key.etag"})};
  if (absl::Status status = CheckSupported(request, rules); !status.ok()) return status;
  absl::StatusOr<std::string> organization = OrganizationIdOf("parent", request.parent());
  if (!organization.ok()) return organization.status();
  const v1::Key& key = request.key();
  if (absl::Status status = CheckDisplayName("key.display_name", key.display_name()); !status.ok()) return status;
  if (absl::Status status = CheckDescription("key.description", key.description()); !status.ok()) return status;
  if (absl::Status status = CheckRole("key.role", key.role(), *organization); !status.ok()) return status;
  if (absl::Status status = CheckOwner("key.owner", key.owner()); !status.ok()) return status;
  absl::StatusOr<std::map<std::string, std::string>> labels = LabelsOf("key.labels", key.labels());
  if (!labels.ok()) return labels.status();
  absl::StatusOr<std::vector<std::string>> cidrs = CidrsOf("key.allowed_cidrs", key.allowed_cidrs());
  if (!cidrs.ok()) return cidrs.status();
  absl::StatusOr<keys::Expiration> expiration = ExpirationOf(key);
  if (!expiration.ok()) return expiration.status();
  absl::StatusOr<std::string> request_id = RequestIdOf("request_id", request.request_id());
  if (!request_id.ok()) return request_id.status();
  keys::NewKey wanted{.organization = *std::move(organization),
                      .display_name = key.display_name(),
                      .description = key.description(),
                      .role = key.role(),
                      .owner = key.owner(),
                      .labels = *std::move(labels),
                      .allowed_cidrs = *std::move(cidrs),
                      .expiration = *std::move(expiration),
                      .request_id = *std::move(request_id)};
  if (keys::KeyTextBytes(wanted) > keys::kMaxKeyTextBytes) return errors::FieldInvalid("key", keys::kKeyTextsWanted);
  return wanted;
}

absl::StatusOr<keys::KeyEdit> KeyEditOf(const v1::UpdateKeyRequest& request) {
  static const FieldRules rules{.supported = SupportedPaths({"key.name", "key.etag", "update_mask"}),
                                .ignored = OutputOnlyPaths({})};
  if (absl::Status status = CheckSupported(request, rules); !status.ok()) return status;
  const v1::Key& key = request.key();
  const absl::StatusOr<core::KeyName> name = KeyNameIn("key.name", key.name());
  if (!name.ok()) return name.status();
  const absl::StatusOr<std::set<std::string>> fields = MaskedFields(request);
  if (!fields.ok()) return fields.status();

  keys::KeyEdit edit{.organization = name->organization, .kid = name->kid, .etag = key.etag()};
  if (fields->count("display_name") > 0) {
    if (absl::Status status = CheckDisplayName("key.display_name", key.display_name()); !status.ok()) return status;
    edit.display_name = key.display_name();
  }
  if (fields->count("description") > 0) {
    if (absl::Status status = CheckDescription("key.description", key.description()); !status.ok()) return status;
    edit.description = key.description();
  }
  if (fields->count("role") > 0) {
    if (absl::Status status = CheckRole("key.role", key.role(), name->organization); !status.ok()) return status;
    edit.role = key.role();
  }
  if (fields->count("owner") > 0) {
    if (absl::Status status = CheckOwner("key.owner", key.owner()); !status.ok()) return status;
    edit.owner = key.owner();
  }
  if (fields->count("labels") > 0) {
    absl::StatusOr<std::map<std::string, std::string>> labels = LabelsOf("key.labels", key.labels());
    if (!labels.ok()) return labels.status();
    edit.labels = *std::move(labels);
  }
  if (fields->count("allowed_cidrs") > 0) {
    absl::StatusOr<std::vector<std::string>> cidrs = CidrsOf("key.allowed_cidrs", key.allowed_cidrs());
    if (!cidrs.ok()) return cidrs.status();
    edit.allowed_cidrs = *std::move(cidrs);
  }
  if (fields->count("expire_time") > 0 || fields->count("ttl") > 0) {
    absl::StatusOr<keys::Expiration> expiration = ExpirationOf(key);
    if (!expiration.ok()) return expiration.status();
    edit.expiration = *std::move(expiration);
  }
  return edit;
}

}  // namespace latchkey::rpc
