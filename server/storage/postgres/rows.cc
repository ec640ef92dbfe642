#include "server/storage/postgres/rows.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/civil_time.h"
#include "server/model/record_fields.h"
#include "server/model/time_range.h"
#include "server/storage/postgres/sql_failure.h"

namespace latchkey::storage::postgres {
namespace {

std::string_view View(const pqxx::field& field) { return {field.c_str(), field.size()}; }
std::string String(const pqxx::field& field) { return std::string(View(field)); }
absl::Time Time(const pqxx::field& field) { return ParseTime(View(field)); }

// The digits of `text` up to `end`; `text` then starts after `end`.
int64_t TakeNumber(std::string_view& text, char end) {
  constexpr size_t kLongest = 6;  // The years go to 294276.
  int64_t value = 0;
  size_t i = 0;
  for (; i < text.size() && text[i] != end; ++i) {
    if (text[i] < '0' || text[i] > '9' || i == kLongest) throw UnreadableRow("not a timestamp");
    value = value * 10 + (text[i] - '0');
  }
  text.remove_prefix(std::min(text.size(), i + 1));
  return value;
}

// "version,created,expires;…", as statements.h builds it.
std::vector<keys::SecretVersion> VersionsFrom(const pqxx::field& field) {
  std::vector<keys::SecretVersion> versions;
  if (field.is_null()) return versions;
  for (const absl::string_view item : absl::StrSplit(field.c_str(), ';')) {
    const std::vector<std::string> parts = absl::StrSplit(item, ',');
    keys::SecretVersion version;
    if (parts.size() != 3 || !absl::SimpleAtoi(parts[0], &version.id)) throw UnreadableRow("not a version");
    version.created_at = ParseTime(parts[1]);
    version.expires_at = ParseTime(parts[2]);
    versions.push_back(version);
  }
  return versions;
}

// "version,last use;…".
std::vector<std::pair<int32_t, absl::Time>> UsesFrom(const pqxx::field& field) {
  std::vector<std::pair<int32_t, absl::Time>> uses;
  if (field.is_null()) return uses;
  for (const absl::string_view item : absl::StrSplit(field.c_str(), ';')) {
    const std::vector<std::string> parts = absl::StrSplit(item, ',');
    int32_t version = 0;
    if (parts.size() != 2 || !absl::SimpleAtoi(parts[0], &version)) throw UnreadableRow("not a use");
    uses.emplace_back(version, ParseTime(parts[1]));
  }
  return uses;
}

// Fills each field that it visits from the column of its name.
struct ColumnReader {
  const pqxx::row& row;

  template <typename T>
  void operator()(const char* name, T& field, const keys::InBody& = {}) const {
    const pqxx::field column = row[name];
    try {
      Get(column, field);
    } catch (const UnreadableRow& unreadable) {
      throw UnreadableRow(absl::StrCat(name, ": ", unreadable.what()));
    } catch (const std::exception&) {  // Of pqxx or of the JSON parser, which quote the value.
      throw UnreadableRow(absl::StrCat(name, ": another type was wanted"));
    }
  }

 private:
  static void Get(const pqxx::field& column, std::string& text) { text = String(column); }
  static void Get(const pqxx::field& column, absl::Time& time) { time = Time(column); }
  static void Get(const pqxx::field& column, absl::Duration& duration) {
    duration = absl::Microseconds(column.as<int64_t>());
  }
  static void Get(const pqxx::field& column, bool& value) { value = column.as<bool>(); }
  static void Get(const pqxx::field& column, int& value) { value = column.as<int>(); }
  static void Get(const pqxx::field& column, keys::DeleteReason& reason) {
    reason = static_cast<keys::DeleteReason>(column.as<int>());
  }
  static void Get(const pqxx::field& column, std::vector<std::string>& items) {
    if (const std::string_view json = View(column); json != "[]")
      items = nlohmann::json::parse(json).get<std::decay_t<decltype(items)>>();
  }
  static void Get(const pqxx::field& column, std::map<std::string, std::string>& items) {
    if (const std::string_view json = View(column); json != "{}")
      items = nlohmann::json::parse(json).get<std::decay_t<decltype(items)>>();
  }
  static void Get(const pqxx::field& column, std::vector<keys::SecretVersion>& versions) {
    versions = VersionsFrom(column);
  }
};

template <typename Record>
Record StoredRecordFrom(const pqxx::row& row) {
  Record record;
  record.revision = row["revision"].as<int64_t>();
  try {
    keys::VisitFields(record, ColumnReader{row});
  } catch (const UnreadableRow& unreadable) {
    throw UnreadableRow(absl::StrCat("a record of revision ", record.revision, ": ", unreadable.what()));
  }
  return record;
}

}  // namespace

std::string TimeText(absl::Time time) {
  if (time == absl::InfiniteFuture()) return "infinity";
  if (time == absl::InfinitePast()) return "-infinity";
  return absl::FormatTime("%E4Y-%m-%d %H:%M:%E6S+00", time, absl::UTCTimeZone());
}

absl::Time ParseTime(std::string_view text) {
  if (text == "infinity") return absl::InfiniteFuture();
  if (text == "-infinity") return absl::InfinitePast();
  if (text.size() < 4 || text.substr(text.size() - 3) != "+00") throw UnreadableRow("not a timestamp in UTC");
  text.remove_suffix(3);
  const int64_t year = TakeNumber(text, '-');
  const int64_t month = TakeNumber(text, '-');
  const int64_t day = TakeNumber(text, ' ');
  const int64_t hour = TakeNumber(text, ':');
  const int64_t minute = TakeNumber(text, ':');
  const int64_t second = TakeNumber(text, '.');
  std::string fraction(text);
  fraction.resize(6, '0');  // PostgreSQL leaves trailing zeros out.
  std::string_view rest = fraction;
  const int64_t microseconds = TakeNumber(rest, '\0');
  const absl::Time time =
      absl::FromCivil(absl::CivilSecond(year, month, day, hour, minute, second), absl::UTCTimeZone()) +
      absl::Microseconds(microseconds);
  if (!keys::IsInRange(time)) throw UnreadableRow(keys::kWantedTime);
  return time;
}

const std::string& Text(const std::string& text) {
  if (text.find('\0') != std::string::npos) throw std::invalid_argument("a NUL in text");
  return text;
}

std::string ArrayText(const std::vector<std::string>& items) {
  std::string out = "{";
  for (const std::string& item : items) {
    if (out.size() > 1) out += ',';
    out += '"';
    for (const char c : Text(item)) {
      if (c == '"' || c == '\\') out += '\\';
      out += c;
    }
    out += '"';
  }
  return out + "}";
}

std::string HexText(std::string_view bytes) {
  return absl::BytesToHexString(absl::string_view(bytes.data(), bytes.size()));
}

std::string ParseBytes(std::string_view text) {
  if (text.substr(0, 2) != "\\x") throw UnreadableRow("not a bytea in hex form");
  return absl::HexStringToBytes(absl::string_view(text.data() + 2, text.size() - 2));
}

std::string LabelsText(const std::map<std::string, std::string>& labels) {
  nlohmann::json json = nlohmann::json::object();
  for (const auto& [name, value] : labels) json[Text(name)] = Text(value);
  return json.dump();
}

keys::KeyRecord KeyFrom(const pqxx::row& row) { return StoredRecordFrom<keys::KeyRecord>(row); }

keys::KeyRecord UsedKeyFrom(const pqxx::row& row) {
  keys::KeyRecord key = KeyFrom(row);
  const pqxx::field uses = row["uses"];
  try {
    for (const auto& [version_id, used_at] : UsesFrom(uses)) {
      // Versions that are gone count for the key.
      key.last_used_at = std::max(key.last_used_at, used_at);
      for (keys::SecretVersion& version : key.versions) {
        if (version.id == version_id) version.last_used_at = used_at;
      }
    }
  } catch (const UnreadableRow& unreadable) {
    throw UnreadableRow(absl::StrCat("uses of key ", key.kid, ": ", unreadable.what()));
  }
  return key;
}

keys::RoleRecord RoleFrom(const pqxx::row& row) { return StoredRecordFrom<keys::RoleRecord>(row); }

keys::OrganizationRecord OrganizationFrom(const pqxx::row& row) {
  return StoredRecordFrom<keys::OrganizationRecord>(row);
}

keys::LogRow LogRowFrom(const pqxx::row& row, int first) {
  keys::LogRow log;
  log.rev = row[first].as<int64_t>();
  try {
    log.at = Time(row[first + 1]);
    log.body = ParseBytes(View(row[first + 2]));
    log.chain = ParseBytes(View(row[first + 3]));
  } catch (const UnreadableRow& unreadable) {
    throw UnreadableRow(absl::StrCat("change-log row ", log.rev, ": ", unreadable.what()));
  }
  return log;
}

keys::Settings SettingsFrom(const pqxx::row& row) {
  keys::Settings settings;
  try {
    keys::VisitFields(settings, ColumnReader{row});
  } catch (const UnreadableRow& unreadable) {
    throw UnreadableRow(absl::StrCat("settings: ", unreadable.what()));
  }
  return settings;
}

core::HistoryId HistoryFrom(const pqxx::row& row) { return static_cast<core::HistoryId>(row["history"].as<int64_t>()); }

keys::Proof ProofFrom(std::string_view ring_id, std::string_view digest) {
  keys::Proof proof;
  if (ring_id.size() != 1 || digest.size() != proof.digest.size()) throw UnreadableRow("not a proof");
  proof.ring_id = ring_id[0];
  std::copy(digest.begin(), digest.end(), proof.digest.begin());
  return proof;
}

}  // namespace latchkey::storage::postgres
