#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/core/saturating_sum.h"
#include "server/storage/postgres/connection.h"
#include "server/storage/postgres/postgres_key_store.h"
#include "server/storage/postgres/rows.h"

// What is kept beside the log, in batches: proofs and uses.
namespace latchkey::storage {

using postgres::ArrayText;
using postgres::Connection;
using postgres::TimeText;

namespace {

// Uses summed up: PostgreSQL refuses to touch a row twice in one statement.
class UseSums {
 public:
  void Add(const std::vector<Use>& uses) {
    for (const Use& use : uses) {
      if (use.kid.find('\0') != std::string::npos) continue;  // No key has such an id, and no text in PostgreSQL.
      if (use.last_used_at != absl::InfinitePast()) {
        absl::Time& last = last_uses_.try_emplace({use.kid, use.version}, use.last_used_at).first->second;
        last = std::max(last, use.last_used_at);
      }
      if (use.count <= 0) continue;
      int64_t& sum = hours_[{use.kid, use.version, use.hour, use.decision}];
      sum = core::SaturatingSum(sum, use.count);
    }
  }

  void Write(Connection& connection) const {
    std::vector<std::string> kids, versions, times, decisions, counts;
    for (const auto& [key, time] : last_uses_) {
      kids.push_back(key.first);
      versions.push_back(absl::StrCat(key.second));
      times.push_back(TimeText(time));
    }
    if (!kids.empty()) connection.Run("put_use", ArrayText(kids), ArrayText(versions), ArrayText(times));
    kids.clear();
    versions.clear();
    times.clear();
    for (const auto& [key, count] : hours_) {
      kids.push_back(std::get<0>(key));
      versions.push_back(absl::StrCat(std::get<1>(key)));
      times.push_back(TimeText(std::get<2>(key)));
      decisions.push_back(absl::StrCat(std::get<3>(key)));
      counts.push_back(absl::StrCat(count));
    }
    if (kids.empty()) return;
    connection.Run("put_use_hours", ArrayText(kids), ArrayText(versions), ArrayText(times), ArrayText(decisions),
                   ArrayText(counts));
  }

 private:
  std::map<std::pair<std::string, int32_t>, absl::Time> last_uses_;
  std::map<std::tuple<std::string, int32_t, absl::Time, int>, int64_t> hours_;
};

}  // namespace

absl::Status PostgresKeyStore::PutProofs(std::vector<keys::KeyProof> proofs) {
  std::map<std::pair<std::string, int32_t>, keys::Proof> sorted;
  for (keys::KeyProof& proof : proofs) {
    if (proof.proof) sorted[{std::move(proof.kid), proof.version}] = proof.proof;
  }
  if (sorted.empty()) return absl::OkStatus();
  std::vector<std::string> kids, versions, generations, digests;
  for (const auto& [key, proof] : sorted) {
    kids.push_back(key.first);
    versions.push_back(absl::StrCat(key.second));
    generations.emplace_back(1, proof.ring_id);
    digests.push_back(postgres::HexText({proof.digest.data(), proof.digest.size()}));
  }
  return InTransaction("storing proofs", [&](Connection& connection) {
    connection.Run("put_proofs", ArrayText(kids), ArrayText(versions), ArrayText(generations), ArrayText(digests));
  });
}

absl::Status PostgresKeyStore::AddUses(const std::vector<Use>& uses, const std::vector<UseReport>& reports) {
  if (uses.empty() && reports.empty()) return absl::OkStatus();
  std::vector<std::string> reporters, ids;
  for (const UseReport& report : reports) {
    reporters.push_back(report.reporter);
    ids.push_back(report.request_id);
  }
  return InTransaction("counting uses", [&](Connection& connection) {
    UseSums sums;
    sums.Add(uses);
    if (!reports.empty()) {
      connection.Run("forget_reports");
      std::set<std::pair<std::string, std::string>> news;
      for (const auto& row : connection.Run("put_reports", ArrayText(reporters), ArrayText(ids))) {
        news.emplace(row[0].as<std::string>(), row[1].as<std::string>());
      }
      for (const UseReport& report : reports) {
        // Of two with one id the first counts.
        if (news.erase({report.reporter, report.request_id}) == 1) sums.Add(report.uses);
      }
    }
    sums.Write(connection);
  });
}

}  // namespace latchkey::storage
