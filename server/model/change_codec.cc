#include "server/model/change_codec.h"

#include <openssl/evp.h>

#include <cstdlib>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "server/base/errors.h"

namespace latchkey::keys {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kFirstVersion = 1;
constexpr int kWithCidrsAndSettings = 2;

int VersionOf(const Change& change) {
  const bool newer = change.settings.has_value() || (change.key && !change.key->allowed_cidrs.empty());
  return newer ? kWithCidrsAndSettings : kFirstVersion;
}

void PutTime(Json& json, const char* name, absl::Time time) {
  if (time != Never()) json[name] = absl::ToUnixMicros(time);
}

absl::Time GetTime(const Json& json, const char* name) {
  return json.contains(name) ? absl::FromUnixMicros(json.at(name).get<int64_t>()) : Never();
}

Json KeyToJson(const KeyRecord& key) {
  Json json;
  json["organization"] = key.organization;
  json["kid"] = key.kid;
  json["display_name"] = key.display_name;
  json["description"] = key.description;
  json["role"] = key.role;
  json["owner"] = key.owner;
  json["labels"] = key.labels;
  json["key_hint"] = key.key_hint;
  json["creator"] = key.creator;
  json["creator_kid"] = key.creator_kid;
  PutTime(json, "created_at", key.created_at);
  PutTime(json, "updated_at", key.updated_at);
  PutTime(json, "expires_at", key.expires_at);
  PutTime(json, "deleted_at", key.deleted_at);
  PutTime(json, "purge_at", key.purge_at);
  json["delete_reason"] = static_cast<int>(key.delete_reason);
  if (!key.allowed_cidrs.empty()) json["allowed_cidrs"] = key.allowed_cidrs;
  json["versions"] = Json::array();
  for (const SecretVersion& version : key.versions) {
    Json item;
    item["id"] = version.id;
    PutTime(item, "created_at", version.created_at);
    PutTime(item, "expires_at", version.expires_at);
    json["versions"].push_back(std::move(item));
  }
  return json;
}

KeyRecord KeyFromJson(const Json& json) {
  KeyRecord key;
  key.organization = json.at("organization").get<std::string>();
  key.kid = json.at("kid").get<std::string>();
  key.display_name = json.at("display_name").get<std::string>();
  key.description = json.at("description").get<std::string>();
  key.role = json.at("role").get<std::string>();
  key.owner = json.at("owner").get<std::string>();
  key.labels = json.at("labels").get<std::map<std::string, std::string>>();
  key.key_hint = json.at("key_hint").get<std::string>();
  key.creator = json.at("creator").get<std::string>();
  key.creator_kid = json.at("creator_kid").get<std::string>();
  key.created_at = GetTime(json, "created_at");
  key.updated_at = GetTime(json, "updated_at");
  key.expires_at = GetTime(json, "expires_at");
  key.deleted_at = GetTime(json, "deleted_at");
  key.purge_at = GetTime(json, "purge_at");
  key.delete_reason = static_cast<DeleteReason>(json.at("delete_reason").get<int>());
  if (json.contains("allowed_cidrs")) key.allowed_cidrs = json.at("allowed_cidrs").get<std::vector<std::string>>();
  for (const Json& item : json.at("versions")) {
    SecretVersion& version = key.versions.emplace_back();
    version.id = item.at("id").get<int32_t>();
    version.created_at = GetTime(item, "created_at");
    version.expires_at = GetTime(item, "expires_at");
  }
  return key;
}

Json OrganizationToJson(const OrganizationRecord& organization) {
  Json json;
  json["id"] = organization.id;
  json["display_name"] = organization.display_name;
  PutTime(json, "created_at", organization.created_at);
  PutTime(json, "updated_at", organization.updated_at);
  PutTime(json, "deleted_at", organization.deleted_at);
  return json;
}

OrganizationRecord OrganizationFromJson(const Json& json) {
  OrganizationRecord organization;
  organization.id = json.at("id").get<std::string>();
  organization.display_name = json.at("display_name").get<std::string>();
  organization.created_at = GetTime(json, "created_at");
  organization.updated_at = GetTime(json, "updated_at");
  organization.deleted_at = GetTime(json, "deleted_at");
  return organization;
}

Json RoleToJson(const RoleRecord& role) {
  Json json;
  json["organization"] = role.organization;
  json["id"] = role.id;
  json["display_name"] = role.display_name;
  json["description"] = role.description;
  json["documentation_uri"] = role.documentation_uri;
  json["permissions"] = role.permissions;
  PutTime(json, "created_at", role.created_at);
  PutTime(json, "updated_at", role.updated_at);
  json["removed"] = role.removed;
  return json;
}

RoleRecord RoleFromJson(const Json& json) {
  RoleRecord role;
  role.organization = json.at("organization").get<std::string>();
  role.id = json.at("id").get<std::string>();
  role.display_name = json.at("display_name").get<std::string>();
  role.description = json.at("description").get<std::string>();
  role.documentation_uri = json.at("documentation_uri").get<std::string>();
  role.permissions = json.at("permissions").get<std::vector<std::string>>();
  role.created_at = GetTime(json, "created_at");
  role.updated_at = GetTime(json, "updated_at");
  role.removed = json.at("removed").get<bool>();
  return role;
}

Json SettingsToJson(const Settings& settings) {
  Json json;
  json["bound_us"] = absl::ToInt64Microseconds(settings.bound);
  json["previous_bound_us"] = absl::ToInt64Microseconds(settings.previous_bound);
  PutTime(json, "changed_at", settings.changed_at);
  return json;
}

Settings SettingsFromJson(const Json& json) {
  Settings settings;
  settings.bound = absl::Microseconds(json.at("bound_us").get<int64_t>());
  settings.previous_bound = absl::Microseconds(json.at("previous_bound_us").get<int64_t>());
  settings.changed_at = GetTime(json, "changed_at");
  return settings;
}

void AppendBigEndian(std::string& out, uint64_t value, int bytes) {
  for (int shift = (bytes - 1) * 8; shift >= 0; shift -= 8) out += static_cast<char>((value >> shift) & 0xff);
}

}  // namespace

std::string EncodeBody(const Change& change, const Audit& audit) {
  Json json;
  json["v"] = VersionOf(change);
  if (change.key) json["key"] = KeyToJson(*change.key);
  if (change.organization) json["organization"] = OrganizationToJson(*change.organization);
  if (change.role) json["role"] = RoleToJson(*change.role);
  if (change.settings) json["settings"] = SettingsToJson(*change.settings);
  json["audit"] = {{"principal", audit.principal},
                   {"peer", audit.peer},
                   {"method", audit.method},
                   {"request_id", audit.request_id},
                   {"server", audit.server}};
  // Text from outside was checked to be UTF-8; replacing is for a peer address or host name that is not.
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

absl::StatusOr<Change> DecodeBody(const LogRow& row) {
  try {
    const Json json = Json::parse(row.body);
    if (const int version = json.at("v").get<int>(); version < kFirstVersion || version > kWithCidrsAndSettings) {
      return errors::Internal(absl::StrCat("change-log row ", row.rev, " has a version this build does not know"));
    }
    Change change;
    change.body = row.body;
    if (json.contains("key")) change.key = KeyFromJson(json.at("key"));
    if (json.contains("organization")) change.organization = OrganizationFromJson(json.at("organization"));
    if (json.contains("role")) change.role = RoleFromJson(json.at("role"));
    if (json.contains("settings")) change.settings = SettingsFromJson(json.at("settings"));
    if (change.key) change.key->revision = row.rev;
    if (change.organization) change.organization->revision = row.rev;
    if (change.role) change.role->revision = row.rev;
    const int images =
        (change.key ? 1 : 0) + (change.organization ? 1 : 0) + (change.role ? 1 : 0) + (change.settings ? 1 : 0);
    if (images != 1) return errors::Internal(absl::StrCat("change-log row ", row.rev, " is not about one resource"));
    return change;
  } catch (const Json::exception&) {
    return errors::Internal(absl::StrCat("change-log row ", row.rev, " can't be read"));
  }
}

std::string ChainOf(const std::string& previous, int64_t rev, absl::Time at, const std::string& body) {
  std::string text = previous;
  AppendBigEndian(text, static_cast<uint64_t>(rev), 8);
  AppendBigEndian(text, static_cast<uint64_t>(absl::ToUnixMicros(at)), 8);
  AppendBigEndian(text, body.size(), 4);
  text += body;
  std::string digest(32, '\0');
  unsigned size = 0;
  if (EVP_Digest(text.data(), text.size(), reinterpret_cast<unsigned char*>(digest.data()), &size, EVP_sha256(),
                 nullptr) != 1) {
    std::abort();
  }
  return digest;
}

}  // namespace latchkey::keys
