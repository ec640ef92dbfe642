#include "server/model/change_codec.h"

#include <openssl/evp.h>

#include <cstdlib>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "server/base/errors.h"
#include "server/model/record_fields.h"

namespace latchkey::keys {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kFirstVersion = 1;
constexpr int kWithCidrsAndSettings = 2;

int VersionOf(const Change& change) {
  const bool newer = change.settings.has_value() || (change.key && !change.key->allowed_cidrs.empty());
  return newer ? kWithCidrsAndSettings : kFirstVersion;
}

template <typename Record>
Json ToJson(const Record& record);
template <typename Record>
Record FromJson(const Json& json);

// Writes each field that it visits into a JSON object.
struct FieldWriter {
  Json& json;

  template <typename T>
  void operator()(const char* name, const T& field, Presence presence = Presence::kAlways) const {
    if constexpr (requires { field.empty(); }) {
      if (presence == Presence::kUnlessEmpty && field.empty()) return;
    }
    Put(name, field);
  }

 private:
  void Put(const char* name, absl::Time time) const {
    if (time != Never()) json[name] = absl::ToUnixMicros(time);
  }
  void Put(const char* name, absl::Duration duration) const { json[name] = absl::ToInt64Microseconds(duration); }
  void Put(const char* name, DeleteReason reason) const { json[name] = static_cast<int>(reason); }
  void Put(const char* name, const std::vector<SecretVersion>& versions) const {
    Json& array = json[name] = Json::array();
    for (const SecretVersion& version : versions) array.push_back(ToJson(version));
  }
  template <typename T>
  void Put(const char* name, const T& value) const {
    json[name] = value;
  }
};

// Fills each field that it visits from a JSON object. Throws for one that has to be there and is not.
struct FieldReader {
  const Json& json;

  template <typename T>
  void operator()(const char* name, T& field, Presence presence = Presence::kAlways) const {
    if (presence == Presence::kUnlessEmpty && !json.contains(name)) return;
    Get(name, field);
  }

 private:
  void Get(const char* name, absl::Time& time) const {
    time = json.contains(name) ? absl::FromUnixMicros(json.at(name).get<int64_t>()) : Never();
  }
  void Get(const char* name, absl::Duration& duration) const {
    duration = absl::Microseconds(json.at(name).get<int64_t>());
  }
  void Get(const char* name, DeleteReason& reason) const {
    reason = static_cast<DeleteReason>(json.at(name).get<int>());
  }
  void Get(const char* name, std::vector<SecretVersion>& versions) const {
    for (const Json& item : json.at(name)) versions.push_back(FromJson<SecretVersion>(item));
  }
  template <typename T>
  void Get(const char* name, T& value) const {
    value = json.at(name).get<T>();
  }
};

template <typename Record>
Json ToJson(const Record& record) {
  Json json;
  VisitFields(record, FieldWriter{json});
  return json;
}

template <typename Record>
Record FromJson(const Json& json) {
  Record record;
  VisitFields(record, FieldReader{json});
  return record;
}

void AppendBigEndian(std::string& out, uint64_t value, int bytes) {
  for (int shift = (bytes - 1) * 8; shift >= 0; shift -= 8) out += static_cast<char>((value >> shift) & 0xff);
}

}  // namespace

std::string EncodeBody(const Change& change, const Audit& audit) {
  Json json;
  json["v"] = VersionOf(change);
  if (change.key) json["key"] = ToJson(*change.key);
  if (change.organization) json["organization"] = ToJson(*change.organization);
  if (change.role) json["role"] = ToJson(*change.role);
  if (change.settings) json["settings"] = ToJson(*change.settings);
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
    if (json.contains("key")) change.key = FromJson<KeyRecord>(json.at("key"));
    if (json.contains("organization")) change.organization = FromJson<OrganizationRecord>(json.at("organization"));
    if (json.contains("role")) change.role = FromJson<RoleRecord>(json.at("role"));
    if (json.contains("settings")) change.settings = FromJson<Settings>(json.at("settings"));
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
