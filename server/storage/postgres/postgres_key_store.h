#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/model/key_store.h"

namespace latchkey::storage {

namespace postgres {
class Connection;
class ConnectionPool;
}  // namespace postgres

struct PostgresOptions {
  std::string connection_string;  // libpq's, either form. May hold a password: never logged.
  int pool_size = 8;
  absl::Duration pool_wait = absl::Seconds(2);  // The longest wait for a place in the pool.
  absl::Duration connect_timeout = absl::Seconds(3);
  absl::Duration statement_timeout = absl::Seconds(10);
  absl::Duration lock_timeout = absl::Milliseconds(500);
  // How long a commit whose connection broke is asked after before it is OUTCOME_UNKNOWN.
  absl::Duration in_doubt_patience = absl::Seconds(5);
};

// The KeyStore in PostgreSQL 13 or newer, on a schema that Migrate() made. A session is borrowed for each call; if none
// is to be had, the call answers DATABASE_UNAVAILABLE. The database may be away at construction and may come and go.
class PostgresKeyStore final : public KeyStore {
 public:
  static std::unique_ptr<PostgresKeyStore> Create(PostgresOptions options);
  ~PostgresKeyStore() override;

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

 private:
  explicit PostgresKeyStore(PostgresOptions options);
  // Runs `job`, which may be repeated without harm, on a borrowed session: once more on a fresh one if that broke.
  // Exceptions end here. `what` names it in an INTERNAL error.
  absl::Status OnConnection(const char* what, absl::FunctionRef<void(postgres::Connection&)> job);
  // Runs `job` in a transaction of its own, which is repeated after contention (three times) or if an old session broke
  // before COMMIT was sent, never after that: OUTCOME_UNKNOWN.
  absl::Status InTransaction(const char* what, absl::FunctionRef<void(postgres::Connection&)> job);

  const PostgresOptions options_;
  const std::unique_ptr<postgres::ConnectionPool> pool_;
};

}  // namespace latchkey::storage
