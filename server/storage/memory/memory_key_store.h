#pragma once

#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/storage/key_store.h"

namespace latchkey::storage {

// A KeyStore in memory, for tests of the domain: the same contract under one mutex. `decide` runs under it and must not
// call the store.
class MemoryKeyStore final : public KeyStore {
 public:
  // `clock` is "the database's"; called under the mutex.
  explicit MemoryKeyStore(std::function<absl::Time()> clock);

  absl::StatusOr<Committed> Commit(const LockPlan& plan, Decide decide) override;
  absl::StatusOr<Snapshot> LoadSnapshot() override;
  absl::StatusOr<LogPage> ReadLog(int64_t cursor, int limit) override;
  absl::StatusOr<std::optional<keys::KeyRecord>> ReadKey(const std::string& kid) override;
  absl::StatusOr<std::optional<keys::OrganizationRecord>> ReadOrganization(const std::string& id) override;
  absl::StatusOr<std::vector<keys::KeyRecord>> ListKeys(const KeyQuery& query) override;
  absl::StatusOr<std::vector<keys::OrganizationRecord>> ListOrganizations(const std::string& after_id,
                                                                          bool show_deleted, int limit) override;
  absl::StatusOr<std::vector<keys::RoleRecord>> ListRoles(const std::string& organization) override;
  absl::StatusOr<std::vector<keys::StoredSecret>> ReadSecrets(const std::string& kid) override;
  absl::StatusOr<std::map<std::string, std::string>> SettleKeyRingChecks(
      const std::map<std::string, std::string>& checks) override;

  // --- Faults, for tests ---
  // Every call answers DATABASE_UNAVAILABLE until it is called with false.
  void SetUnavailable(bool unavailable);
  // The next commit that writes answers OUTCOME_UNKNOWN although it took place.
  void LoseNextReply();
  // Undoes the newest `count` rows, as a failover that lost them would: records, secrets and request ids too.
  void DropNewestRows(int count);
  // Gives the same rows another identity: a new revision 0 and the chain from there.
  void ReplaceChain();

 private:
  using RoleId = std::pair<std::string, std::string>;  // (organization, id)
  struct State {
    std::map<std::string, keys::KeyRecord> keys;
    std::map<RoleId, keys::RoleRecord> roles;
    std::map<std::string, keys::OrganizationRecord> organizations;
    std::map<std::string, std::map<int32_t, keys::StoredSecret>> secrets;
    std::map<std::pair<std::string, std::string>, std::string> requests;
    bool owner_ever = false;
  };

  LockedState Look(const LockPlan& plan) const;
  absl::Status Check(const LockPlan& plan, const LockedState& seen, const Mutation& mutation) const;
  keys::LogRow Append(const std::string& body);
  // Writes one after-image and returns what takes it back.
  std::function<void()> Apply(const keys::Change& change, int64_t revision);

  const std::function<absl::Time()> clock_;
  mutable std::mutex mutex_;
  State state_;
  std::vector<keys::LogRow> log_;            // Element i has rev i.
  std::vector<std::function<void()>> undo_;  // Of log_'s element i.
  std::map<std::string, std::string> checks_;
  bool unavailable_ = false;
  bool lose_reply_ = false;
};

}  // namespace latchkey::storage
