#pragma once

#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/model/key_store.h"

namespace latchkey::storage {

// A KeyStore in memory, for tests of the domain: the same contract under one mutex. `decide` runs under it and must not
// call the store.
class MemoryKeyStore final : public KeyStore {
 public:
  // `clock` is "the database's"; called under the mutex.
  explicit MemoryKeyStore(std::function<absl::Time()> clock);

  absl::StatusOr<Committed> Commit(const LockPlan& plan, Decide decide) override;
  absl::StatusOr<SnapshotHead> LoadSnapshot(SnapshotSink& sink) override;
  absl::StatusOr<LogPage> ReadLog(int64_t cursor, int limit) override;
  absl::StatusOr<std::optional<std::string>> ReadChain(int64_t revision) override;
  absl::Status EnterReplica(const std::string& replica, const std::string& doorbell) override;
  absl::Status LeaveReplica(const std::string& replica) override;
  absl::StatusOr<bool> ForgetReplica(const std::string& replica, int64_t beat) override;
  absl::StatusOr<LogPage> RenewLease(const Heartbeat& beat, int64_t cursor, int limit) override;
  absl::StatusOr<std::vector<Replica>> ReadReplicas() override;
  absl::StatusOr<keys::Settings> ReadSettings() override;
  absl::Status PutProofs(std::vector<keys::KeyProof> proofs) override;
  absl::Status AddUses(const std::vector<Use>& uses, const std::vector<UseReport>& reports) override;
  absl::StatusOr<std::optional<keys::KeyRecord>> ReadKey(const std::string& organization,
                                                         const std::string& kid) override;
  absl::StatusOr<std::optional<keys::OrganizationRecord>> ReadOrganization(const std::string& id) override;
  absl::StatusOr<std::vector<keys::KeyRecord>> ListKeys(const KeyQuery& query) override;
  absl::StatusOr<std::vector<keys::OrganizationRecord>> ListOrganizations(const std::string& after_id,
                                                                          bool show_deleted, int limit) override;
  absl::StatusOr<std::vector<keys::RoleRecord>> ListRoles(const std::string& organization, const std::string& after_id,
                                                          int limit) override;
  absl::StatusOr<std::vector<keys::StoredSecret>> ReadSecrets(const std::string& kid) override;
  absl::StatusOr<std::map<std::string, std::string>> SettleKeyRingChecks(
      const std::map<std::string, std::string>& checks) override;

  // --- Of another release, for tests ---
  // The installation is at that feature level, as a database is that another release made or upgraded: replicas that
  // do not read it are forgotten.
  void SetLevel(int level);
  // A server that reads these levels has entered: as EnterReplica, whatever the installation's.
  void EnterReplicaOfLevels(const std::string& replica, int oldest, int newest);

  // --- Faults, for tests ---
  // Every call of the contract answers DATABASE_UNAVAILABLE until it is called with false.
  void SetUnavailable(bool unavailable);
  // The next commit that writes answers OUTCOME_UNKNOWN although it took place.
  void LoseNextReply();
  // Undoes the newest `count` rows, as a failover that lost them would: records, secrets, settings and request ids too,
  // and proofs of their keys that came later. Another history, also if `count` is 0.
  void DropNewestRows(int count);
  // The database stops and starts: the same rows on the same timeline, and another history.
  void Restart();
  // Gives the same rows another identity: a new revision 0 and the chain from there.
  void ReplaceChain();
  // The row of every replica is gone, as after a restore.
  void ForgetReplicas();
  // Rows below `oldest` are no longer kept. Never more than the head.
  void ForgetRowsBelow(int64_t oldest);

  // --- For tests: what no call of the contract shows ---
  // How often a version was used with a decision in the hour that begins at `hour`.
  int64_t UseCount(const std::string& kid, int32_t version, absl::Time hour, int decision) const;

 private:
  using RoleId = std::pair<std::string, std::string>;  // (organization, id)
  using VersionId = std::pair<std::string, int32_t>;   // (kid, version)
  struct State {
    std::map<std::string, keys::KeyRecord> keys;
    std::map<RoleId, keys::RoleRecord> roles;
    std::map<std::string, keys::OrganizationRecord> organizations;
    std::map<std::string, std::map<int32_t, keys::StoredSecret>> secrets;  // Without proofs.
    std::map<std::string, std::map<int32_t, keys::Proof>> proofs;
    keys::Settings settings;
    std::map<std::pair<std::string, std::string>, std::string> requests;
    bool owner_ever = false;
  };

  LockedState Look(const LockPlan& plan) const;
  absl::Status Check(const LockPlan& plan, const LockedState& seen, const Mutation& mutation) const;
  keys::LogRow Append(const std::string& body);
  absl::Time Now() const;
  core::HistoryId History() const;
  keys::Proof ProofOf(const std::string& kid, int32_t version) const;
  keys::KeyRecord WithUse(keys::KeyRecord key) const;
  LogPage Page(int64_t cursor, int limit) const;
  void Add(const std::vector<Use>& uses);
  // Writes one after-image and returns what takes it back.
  std::function<void()> Apply(const keys::Change& change, int64_t revision);

  const std::function<absl::Time()> clock_;
  mutable std::mutex mutex_;
  State state_;
  std::vector<keys::LogRow> log_;            // Element i has rev i.
  std::vector<std::function<void()>> undo_;  // Of log_'s element i.
  std::vector<std::string> row_kids_;        // Likewise: the key of the row, "" = none.
  int64_t timeline_ = 1;
  int64_t starts_ = 1;  // In the place of the time when it started.
  int64_t oldest_ = 0;
  std::map<std::string, Replica> replicas_;
  std::map<VersionId, absl::Time> last_uses_;
  std::map<std::tuple<std::string, int32_t, absl::Time, int>, int64_t> use_hours_;
  std::map<std::pair<std::string, std::string>, absl::Time> use_reports_;
  std::map<std::string, std::string> checks_;
  bool unavailable_ = false;
  bool lose_reply_ = false;
};

}  // namespace latchkey::storage
