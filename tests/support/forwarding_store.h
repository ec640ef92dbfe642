#pragma once

#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "server/model/key_store.h"

namespace latchkey::testing {

// Passes every call on; tests override what they disturb. Thread-safe as the store behind it.
class ForwardingStore : public storage::KeyStore {
 public:
  explicit ForwardingStore(storage::KeyStore& behind) : behind_(behind) {}

  absl::StatusOr<storage::Committed> Commit(const storage::LockPlan& plan, Decide decide) override {
    return behind_.Commit(plan, decide);
  }
  absl::StatusOr<storage::SnapshotHead> LoadSnapshot(storage::SnapshotSink& sink) override {
    return behind_.LoadSnapshot(sink);
  }
  absl::StatusOr<storage::LogPage> ReadLog(int64_t cursor, int limit) override {
    return behind_.ReadLog(cursor, limit);
  }
  absl::StatusOr<std::optional<std::string>> ReadChain(int64_t revision) override {
    return behind_.ReadChain(revision);
  }
  absl::Status EnterReplica(const std::string& replica, const std::string& doorbell) override {
    return behind_.EnterReplica(replica, doorbell);
  }
  absl::Status LeaveReplica(const std::string& replica) override { return behind_.LeaveReplica(replica); }
  absl::StatusOr<bool> ForgetReplica(const std::string& replica, int64_t beat) override {
    return behind_.ForgetReplica(replica, beat);
  }
  absl::StatusOr<storage::LogPage> RenewLease(const storage::Heartbeat& beat, int64_t cursor, int limit) override {
    return behind_.RenewLease(beat, cursor, limit);
  }
  absl::StatusOr<std::vector<storage::Replica>> ReadReplicas() override { return behind_.ReadReplicas(); }
  absl::StatusOr<keys::Settings> ReadSettings() override { return behind_.ReadSettings(); }
  absl::Status PutProofs(std::vector<keys::KeyProof> proofs) override { return behind_.PutProofs(std::move(proofs)); }
  absl::Status AddUses(const std::vector<storage::Use>& uses, const std::vector<storage::UseReport>& reports) override {
    return behind_.AddUses(std::move(uses), std::move(reports));
  }
  absl::StatusOr<std::optional<keys::KeyRecord>> ReadKey(const std::string& organization,
                                                         const std::string& kid) override {
    return behind_.ReadKey(organization, kid);
  }
  absl::StatusOr<std::optional<keys::OrganizationRecord>> ReadOrganization(const std::string& id) override {
    return behind_.ReadOrganization(id);
  }
  absl::StatusOr<std::vector<keys::KeyRecord>> ListKeys(const storage::KeyQuery& query) override {
    return behind_.ListKeys(query);
  }
  absl::StatusOr<std::vector<keys::OrganizationRecord>> ListOrganizations(const std::string& after_id,
                                                                          bool show_deleted, int limit) override {
    return behind_.ListOrganizations(after_id, show_deleted, limit);
  }
  absl::StatusOr<std::vector<keys::RoleRecord>> ListRoles(const std::string& organization, const std::string& after_id,
                                                          int limit) override {
    return behind_.ListRoles(organization, after_id, limit);
  }
  absl::StatusOr<std::vector<keys::StoredSecret>> ReadSecrets(const std::string& kid) override {
    return behind_.ReadSecrets(kid);
  }
  absl::StatusOr<std::map<std::string, std::string>> SettleKeyRingChecks(
      const std::map<std::string, std::string>& checks) override {
    return behind_.SettleKeyRingChecks(checks);
  }

 protected:
  storage::KeyStore& behind() { return behind_; }

 private:
  storage::KeyStore& behind_;
};

}  // namespace latchkey::testing
