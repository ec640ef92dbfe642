#include "server/model/change_codec.h"

#include <openssl/evp.h>

#include <algorithm>
#include <concepts>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <set>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/base/errors.h"
#include "server/model/record_fields.h"

namespace latchkey::keys {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kFirstShape = 1;
constexpr int kWithCriticalFields = 3;  // The newest.

// Notes what the fields that it visits, and a body has, ask of a reader.
struct LevelFinder {
  const std::string prefix;  // Of the fields' paths.
  int& level;
  std::vector<std::string>& critical;

  template <typename T>
  void operator()(const char* name, const T& field, const InBody& in_body = {}) const {
    if (IsAbsent(field, in_body.presence)) return;
    level = std::max(level, in_body.level);
    if (in_body.level >= kWithCriticalFields) critical.push_back(absl::StrCat(prefix, name));
    if constexpr (std::same_as<T, std::vector<SecretVersion>>) {
      for (const SecretVersion& version : field) {
        VisitFields(version, LevelFinder{absl::StrCat(prefix, name, "."), level, critical});
      }
    }
  }
};

// What a change's body asks of a reader.
struct Demands {
  int level = kFirstShape;
  std::vector<std::string> critical;
};

Demands DemandsOf(const Change& change) {
  Demands demands;
  const auto find = [&demands](const char* image, const auto& record) {
    if (record) VisitFields(*record, LevelFinder{absl::StrCat(image, "."), demands.level, demands.critical});
  };
  find("key", change.key);
  find("organization", change.organization);
  find("role", change.role);
  find("settings", change.settings);
  return demands;
}

// Notes the paths of the fields that it visits.
struct PathLister {
  const std::string prefix;
  std::set<std::string>& paths;

  template <typename T>
  void operator()(const char* name, const T&, const InBody& = {}) const {
    paths.insert(absl::StrCat(prefix, name));
    if constexpr (std::same_as<T, std::vector<SecretVersion>>) {
      const SecretVersion version;
      VisitFields(version, PathLister{absl::StrCat(prefix, name, "."), paths});
    }
  }
};

template <typename Record>
void AddPaths(const char* image, std::set<std::string>& paths) {
  paths.insert(image);
  const Record record;
  VisitFields(record, PathLister{absl::StrCat(image, "."), paths});
}

// Of everything in a body that this build knows.
const std::set<std::string>& KnownPaths() {
  static const auto* const known = [] {
    auto* const paths = new std::set<std::string>{"audit"};
    AddPaths<KeyRecord>("key", *paths);
    AddPaths<OrganizationRecord>("organization", *paths);
    AddPaths<RoleRecord>("role", *paths);
    AddPaths<Settings>("settings", *paths);
    return paths;
  }();
  return *known;
}

template <typename Record>
Json ToJson(const Record& record);
template <typename Record>
Record FromJson(const Json& json);

// Writes each field that it visits into a JSON object.
struct FieldWriter {
  Json& json;

  template <typename T>
  void operator()(const char* name, const T& field, const InBody& in_body = {}) const {
    if (!IsAbsent(field, in_body.presence)) Put(name, field);
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
  void operator()(const char* name, T& field, const InBody& in_body = {}) const {
    if (in_body.presence == Presence::kAlways || json.contains(name)) {
      Get(name, field);
    } else {
      SetAbsent(field, in_body.presence);
    }
  }

 private:
  static void SetAbsent(int& number, Presence presence) {
    number = presence == Presence::kUnlessLevelOfReleaseZero ? kReleaseZeroLevel : 0;
  }
  template <typename T>
  static void SetAbsent(T& field, Presence) {
    field = T();
  }
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
  const Demands demands = DemandsOf(change);
  Json json;
  json["v"] = std::min(demands.level, kWithCriticalFields);
  if (!demands.critical.empty()) json["critical"] = demands.critical;
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
    const int shape = json.at("v").get<int>();
    if (shape < kFirstShape || shape > kWithCriticalFields) {
      return errors::Internal(absl::StrCat("change-log row ", row.rev, " has a version this build does not know"));
    }
    if (json.contains("critical")) {
      for (const std::string& path : json.at("critical").get<std::vector<std::string>>()) {
        if (KnownPaths().contains(path)) continue;
        return errors::Internal(
            absl::StrCat("change-log row ", row.rev, " has a critical field this build does not know: ", path));
      }
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
    const bool of_the_unknown = images == 0 && shape >= kWithCriticalFields;
    if (images != 1 && !of_the_unknown) {
      return errors::Internal(absl::StrCat("change-log row ", row.rev, " is not about one resource"));
    }
    return change;
  } catch (const Json::exception&) {
    return errors::Internal(absl::StrCat("change-log row ", row.rev, " can't be read"));
  }
}

int LevelOf(const Change& change) { return DemandsOf(change).level; }

absl::Status RequireLevel(absl::Span<const Change> changes, const Settings& settings) {
  if (settings.level > kNewestLevel) return errors::LevelUnreadable(settings.level, kOldestLevel, kNewestLevel);
  int level = settings.level;
  for (const Change& change : changes) {
    if (change.settings) level = std::max(level, change.settings->level);
    if (const int needed = LevelOf(change); needed > level) return errors::UpgradeUnfinished(needed, level);
  }
  return absl::OkStatus();
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
