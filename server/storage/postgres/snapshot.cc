#include "server/storage/postgres/snapshot.h"

#include <algorithm>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/storage/postgres/copy_reader.h"
#include "server/storage/postgres/rows.h"
#include "server/storage/postgres/sql_failure.h"
#include "server/storage/postgres/statements.h"

namespace latchkey::storage::postgres {
namespace {

// Whole tables are read. A planner that trusts its random_page_cost would walk three indexes in step and fetch each row
// from wherever it lies, four times slower than reading, joining and sorting; without statistics it may do worse.
constexpr char kBegin[] =
    "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL enable_indexscan = off; SET LOCAL enable_nestloop = "
    "off; "
    "SET LOCAL work_mem = '64MB'; SET LOCAL statement_timeout = '30s'";

// A row a version, those of one key together.
constexpr char kCopyKeys[] =
    "COPY (SELECT k.kid, s.version, s.expires_at, p.generation, p.digest, k.organization, k.display_name, k.role, "
    "k.owner, k.labels::text, CASE WHEN k.allowed_cidrs <> '{}' THEN to_json(k.allowed_cidrs)::text END, k.expires_at, "
    "k.purge_at, k.deleted_at <> 'infinity' FROM keys k LEFT JOIN secret_versions s ON s.kid = k.kid "
    "LEFT JOIN proofs p ON p.kid = s.kid AND p.version = s.version ORDER BY k.kid, s.version) "
    "TO STDOUT (FORMAT binary)";

// Gathers the rows of a key and hands it over.
class KeyGatherer {
 public:
  explicit KeyGatherer(SnapshotSink& sink) : sink_(sink) {}

  void Take(std::string_view message) {
    if (!reader_.Next(message)) return;
    const std::string_view kid = reader_.Text();
    const bool first = !gathering_ || kid != kid_;
    if (first) {
      Flush();
      kid_ = kid;
      gathering_ = true;
    }
    try {
      TakeVersion();
      if (first) TakeKey();
    } catch (const UnreadableRow& row) {
      throw UnreadableRow(absl::StrCat("key ", kid_, ": ", row.what()));
    }
  }

  void Flush() {
    if (!gathering_) return;
    key_.kid = kid_;
    key_.versions = versions_;
    sink_.Add(key_);
    versions_.clear();
    gathering_ = false;
  }

 private:
  void TakeVersion() {
    const std::optional<std::string_view> id = reader_.Field();
    if (!id.has_value()) {  // A key without versions.
      for (int i = 0; i < 3; ++i) reader_.Field();
      return;
    }
    SnapshotVersion& version = versions_.emplace_back();
    version.id = CopyReader::Int32From(*id);
    version.expires_at = reader_.Time();
    const std::optional<std::string_view> generation = reader_.Field();
    const std::optional<std::string_view> digest = reader_.Field();
    if (generation.has_value() && digest.has_value()) version.proof = ProofFrom(*generation, *digest);
  }

  void TakeKey() {
    rest_.assign(reader_.Rest());
    CopyReader rest = CopyReader::OfFields(rest_);
    key_.organization = rest.Text();
    key_.display_name = rest.Text();
    key_.role = rest.Text();
    key_.owner = rest.Text();
    TakeLabels(rest.Text());
    TakeCidrs(rest.Field());
    key_.expires_at = rest.Time();
    key_.purge_at = rest.Time();
    key_.deleted = rest.Bool();
  }

  void TakeLabels(std::string_view json) {
    labels_.clear();
    if (json != "{}") {
      labels_json_.assign(json);
      JsonStrings(labels_json_, strings_);
      for (size_t i = 0; i + 1 < strings_.size(); i += 2) labels_.emplace_back(strings_[i], strings_[i + 1]);
      std::sort(labels_.begin(), labels_.end());  // jsonb sorts by length first.
    }
    key_.labels = labels_;
  }

  void TakeCidrs(std::optional<std::string_view> json) {
    cidrs_.clear();
    if (json.has_value()) {
      cidrs_json_.assign(*json);
      JsonStrings(cidrs_json_, cidrs_);
    }
    key_.allowed_cidrs = cidrs_;
  }

  SnapshotSink& sink_;
  CopyReader reader_;
  bool gathering_ = false;
  // Of the key that is being gathered. What the views of key_ point into:
  std::string kid_;
  std::string rest_;
  std::string labels_json_;
  std::string cidrs_json_;
  std::vector<std::string_view> strings_;
  std::vector<std::pair<std::string_view, std::string_view>> labels_;
  std::vector<std::string_view> cidrs_;
  std::vector<SnapshotVersion> versions_;
  SnapshotKey key_;
};

}  // namespace

SnapshotHead LoadSnapshotOn(Connection& connection, SnapshotSink& sink) {
  connection.Exec(kBegin);
  const pqxx::result result = connection.Run("read_head");
  const pqxx::row row = result.at(0);
  SnapshotHead head;
  head.position = {row[0].as<int64_t>(), ParseBytes(row[1].c_str())};
  head.now = ParseTime(row[2].c_str());
  head.settings = SettingsFrom(row);
  head.history = HistoryFrom(row);
  sink.Begin(head.position, connection.Exec("SELECT count(*) FROM keys").at(0)[0].as<int64_t>());
  for (const auto& organization :
       connection.Exec("SELECT " LATCHKEY_ORGANIZATION_COLUMNS " FROM organizations o ORDER BY o.id")) {
    sink.Add(OrganizationFrom(organization));
  }
  for (const auto& role :
       connection.Exec("SELECT " LATCHKEY_ROLE_COLUMNS " FROM roles r ORDER BY r.organization, r.id")) {
    sink.Add(RoleFrom(role));
  }
  KeyGatherer gatherer(sink);
  connection.CopyOut(kCopyKeys, [&](std::string_view message) { gatherer.Take(message); });
  gatherer.Flush();
  connection.Exec("COMMIT");
  return head;
}

}  // namespace latchkey::storage::postgres
