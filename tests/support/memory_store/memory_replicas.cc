#include <algorithm>
#include <set>
#include <tuple>

#include "client/core/saturating_sum.h"
#include "server/base/errors.h"
#include "tests/support/memory_store/memory_key_store.h"

// The log's pages, replicas, and what is kept beside the log.
namespace latchkey::storage {
namespace {

constexpr absl::Duration kReportsAreForgottenAfter = absl::Hours(24);

}  // namespace

LogPage MemoryKeyStore::Page(int64_t cursor, int limit) const {
  LogPage page;
  page.head = log_.back().rev;
  page.oldest = oldest_;
  page.history = History();
  page.now = Now();
  page.settings = state_.settings;
  std::set<std::string> seen;
  for (int64_t rev = std::max(cursor, oldest_); rev <= page.head && static_cast<int>(page.rows.size()) < limit; ++rev) {
    page.rows.push_back(log_[static_cast<size_t>(rev)]);
    const std::string& kid = row_kids_[static_cast<size_t>(rev)];
    const auto proofs = state_.proofs.find(kid);
    if (proofs == state_.proofs.end() || !seen.insert(kid).second) continue;
    for (const auto& [version, proof] : proofs->second) page.proofs.push_back({kid, version, proof});
  }
  return page;
}

absl::StatusOr<LogPage> MemoryKeyStore::ReadLog(int64_t cursor, int limit) {
  const std::lock_guard lock(mutex_);
  if (unavailable_) return errors::DatabaseUnavailable();
  return Page(cursor, limit);
}

absl::StatusOr<std::optional<std::string>> MemoryKeyStore::ReadChain(int64_t revision) {
  const std::lock_guard lock(mutex_);
  if (unavailable_) return errors::DatabaseUnavailable();
  if (revision < oldest_ || revision > log_.back().rev) return std::optional<std::string>();
  return std::optional(log_[static_cast<size_t>(revision)].chain);
}

absl::Status MemoryKeyStore::EnterReplica(const std::string& replica, const std::string& doorbell) {
  const std::lock_guard lock(mutex_);
  if (unavailable_) return errors::DatabaseUnavailable();
  if (state_.settings.level < keys::kOldestLevel || state_.settings.level > keys::kNewestLevel) {
    return errors::Internal("storage: the level is not one of this server's");
  }
  Replica& row = replicas_[replica];
  row.id = replica;
  row.doorbell = doorbell;
  row.oldest_level = keys::kOldestLevel;
  row.newest_level = keys::kNewestLevel;
  return absl::OkStatus();
}

absl::Status MemoryKeyStore::LeaveReplica(const std::string& replica) {
  const std::lock_guard lock(mutex_);
  if (unavailable_) return errors::DatabaseUnavailable();
  replicas_.erase(replica);
  return absl::OkStatus();
}

absl::StatusOr<bool> MemoryKeyStore::ForgetReplica(const std::string& replica, int64_t beat) {
  const std::lock_guard lock(mutex_);
  if (unavailable_) return errors::DatabaseUnavailable();
  const auto found = replicas_.find(replica);
  if (found == replicas_.end()) return true;
  if (found->second.beat != beat) return false;
  replicas_.erase(found);
  return true;
}

absl::StatusOr<LogPage> MemoryKeyStore::RenewLease(const Heartbeat& beat, int64_t cursor, int limit) {
  const std::lock_guard lock(mutex_);
  if (unavailable_) return errors::DatabaseUnavailable();
  const auto it = replicas_.find(beat.replica);
  LogPage page = Page(cursor, limit);
  const bool has_cursor =
      !page.rows.empty() && page.rows.front().rev == cursor && page.rows.front().chain == beat.chain;
  if (!beat.chain.empty() && !has_cursor) return page;
  if (it == replicas_.end()) return errors::ReplicaForgotten();
  ++it->second.beat;
  it->second.applied_revision = beat.applied_revision;
  it->second.acknowledged = beat.acknowledged;
  return page;
}

absl::StatusOr<std::vector<Replica>> MemoryKeyStore::ReadReplicas() {
  const std::lock_guard lock(mutex_);
  if (unavailable_) return errors::DatabaseUnavailable();
  std::vector<Replica> replicas;
  for (const auto& [id, row] : replicas_) replicas.push_back(row);
  return replicas;
}

absl::Status MemoryKeyStore::PutProofs(std::vector<keys::KeyProof> proofs) {
  const std::lock_guard lock(mutex_);
  if (unavailable_) return errors::DatabaseUnavailable();
  std::map<VersionId, keys::Proof> latest;
  for (const keys::KeyProof& proof : proofs) {
    if (proof.proof) latest[{proof.kid, proof.version}] = proof.proof;
  }
  for (const auto& [id, proof] : latest) {
    const auto key = state_.keys.find(id.first);
    if (key == state_.keys.end()) continue;
    const auto& versions = key->second.versions;
    const int32_t version = id.second;
    if (std::none_of(versions.begin(), versions.end(), [&](const auto& item) { return item.id == version; })) continue;
    keys::Proof& stored = state_.proofs[id.first][version];
    if (stored.ring_id != proof.ring_id) stored = proof;
  }
  return absl::OkStatus();
}

void MemoryKeyStore::Add(const std::vector<Use>& uses) {
  for (const Use& use : uses) {
    if (!state_.keys.contains(use.kid)) continue;
    if (use.last_used_at != absl::InfinitePast()) {
      absl::Time& last = last_uses_.try_emplace({use.kid, use.version}, use.last_used_at).first->second;
      last = std::max(last, use.last_used_at);
    }
    if (use.count <= 0) continue;
    int64_t& sum = use_hours_[{use.kid, use.version, use.hour, use.decision}];
    sum = core::SaturatingSum(sum, use.count);
  }
}

absl::Status MemoryKeyStore::AddUses(const std::vector<Use>& uses, const std::vector<UseReport>& reports) {
  const std::lock_guard lock(mutex_);
  if (unavailable_) return errors::DatabaseUnavailable();
  const absl::Time now = Now();
  std::erase_if(use_reports_, [&](const auto& item) { return item.second < now - kReportsAreForgottenAfter; });
  Add(uses);
  for (const UseReport& report : reports) {
    if (use_reports_.emplace(std::pair(report.reporter, report.request_id), now).second) Add(report.uses);
  }
  return absl::OkStatus();
}

}  // namespace latchkey::storage
