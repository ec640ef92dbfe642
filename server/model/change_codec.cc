#include "server/model/change_codec.h"

#include <openssl/evp.h>

#include <algorithm>
#include <concepts>
#include <cstdlib>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/base/errors.h"
#include "server/model/record_fields.h"
#include "server/model/time_range.h"

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

// Thrown for a body that can't be read: the field's path, "" = the body itself, and what is wrong. Never the value.
struct Unreadable {
  std::string path;
  std::string why;
};

// Runs `read`, which reads the field `name` of an object: what it throws then names that field too.
template <typename Read>
void ReadField(const char* name, const Read& read) {
  try {
    read();
  } catch (const Unreadable& inside) {
    throw Unreadable{inside.path.empty() ? name : absl::StrCat(name, ".", inside.path), inside.why};
  }
}

// nullopt for anything but an integer between them. By hand, because the JSON library's own conversion takes floats,
// booleans and what is too wide for the type, and its parser makes floats of integers that are wider than 64 bits.
std::optional<int64_t> IntegerIn(const Json& json, int64_t least, int64_t most) {
  if (!json.is_number_integer()) return std::nullopt;
  const bool too_wide = json.is_number_unsigned() && json.get<uint64_t>() > std::numeric_limits<int64_t>::max();
  const int64_t value = too_wide ? 0 : json.get<int64_t>();
  if (too_wide || value < least || value > most) return std::nullopt;
  return value;
}

template <typename Integer>
Integer IntegerFrom(const Json& json) {
  using Limits = std::numeric_limits<Integer>;
  const std::optional<int64_t> value = IntegerIn(json, Limits::min(), Limits::max());
  if (!value) throw Unreadable{"", absl::StrCat("an integer of ", sizeof(Integer) * 8, " bits was wanted")};
  return static_cast<Integer>(*value);
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

// Fills each field that it visits from a JSON object. Throws Unreadable.
struct FieldReader {
  const Json& json;

  template <typename T>
  void operator()(const char* name, T& field, const InBody& in_body = {}) const {
    const auto found = json.find(name);
    if (found != json.end()) {
      ReadField(name, [&] { Get(*found, field); });
    } else if (std::same_as<T, absl::Time> || in_body.presence != Presence::kAlways) {
      SetAbsent(field, in_body.presence);
    } else {
      throw Unreadable{name, "it is missing"};
    }
    // What is written by leaving the field out is read as if it were left out.
    if (IsAbsent(field, in_body.presence)) SetAbsent(field, in_body.presence);
  }

 private:
  static void SetAbsent(absl::Time& time, Presence) { time = Never(); }
  static void SetAbsent(int& number, Presence presence) {
    number = presence == Presence::kUnlessLevelOfReleaseZero ? kReleaseZeroLevel : 0;
  }
  template <typename T>
  static void SetAbsent(T& field, Presence) {
    field = T();
  }
  static void Get(const Json& value, absl::Time& time) {
    const std::optional<int64_t> us = IntegerIn(value, kFirstMicrosecond, kLastMicrosecond);
    if (!us) throw Unreadable{"", absl::StrCat(kWantedTime, ", in whole microseconds since 1970")};
    time = absl::FromUnixMicros(*us);
  }
  static void Get(const Json& value, absl::Duration& duration) {
    duration = absl::Microseconds(IntegerFrom<int64_t>(value));
  }
  static void Get(const Json& value, DeleteReason& reason) {
    reason = static_cast<DeleteReason>(IntegerFrom<int>(value));
  }
  static void Get(const Json& value, int& number) { number = IntegerFrom<int>(value); }
  static void Get(const Json& value, std::vector<SecretVersion>& versions) {
    if (!value.is_array()) throw Unreadable{"", "a list was wanted"};
    for (const Json& item : value) versions.push_back(FromJson<SecretVersion>(item));
  }
  template <typename T>
  static void Get(const Json& value, T& field) {
    try {
      value.get_to(field);
    } catch (const Json::exception&) {  // Which would quote the value.
      throw Unreadable{"", "another type was wanted"};
    }
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
  if (!json.is_object()) throw Unreadable{"", "an object was wanted"};
  Record record;
  VisitFields(record, FieldReader{json});
  return record;
}

// Throws if the body says that a reader must know a field which this build does not.
void RequireKnown(const Json& body) {
  std::vector<std::string> critical;
  FieldReader{body}("critical", critical, {.presence = Presence::kUnlessEmpty});
  for (const std::string& path : critical) {
    if (KnownPaths().contains(path)) continue;
    throw Unreadable{"", absl::StrCat("it has a critical field that this build does not know: ", path)};
  }
}

Change ChangeIn(const LogRow& row) {
  const Json json = Json::parse(row.body, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) throw Unreadable{"", "its body is not a JSON object"};
  int shape = 0;
  FieldReader{json}("v", shape);
  if (shape < kFirstShape || shape > kWithCriticalFields) {
    throw Unreadable{"", "its body has a version that this build does not know"};
  }
  RequireKnown(json);
  Change change;
  change.body = row.body;
  const auto read = [&json]<typename Record>(const char* name, std::optional<Record>& image) {
    if (json.contains(name)) ReadField(name, [&] { image = FromJson<Record>(json.at(name)); });
  };
  read("key", change.key);
  read("organization", change.organization);
  read("role", change.role);
  read("settings", change.settings);
  if (change.key) change.key->revision = row.rev;
  if (change.organization) change.organization->revision = row.rev;
  if (change.role) change.role->revision = row.rev;
  const int images =
      (change.key ? 1 : 0) + (change.organization ? 1 : 0) + (change.role ? 1 : 0) + (change.settings ? 1 : 0);
  const bool of_the_unknown = images == 0 && shape >= kWithCriticalFields;
  if (images != 1 && !of_the_unknown) throw Unreadable{"", "it is not about one resource"};
  return change;
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
    return ChangeIn(row);
  } catch (const Unreadable& unreadable) {
    return errors::RowUnreadable(absl::StrCat("change-log row ", row.rev, ": ", unreadable.path,
                                              unreadable.path.empty() ? "" : ": ", unreadable.why));
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
