#include "server/storage/postgres/postgres_key_store.h"

#include <exception>
#include <utility>

#include "server/base/errors.h"
#include "server/storage/postgres/commit.h"
#include "server/storage/postgres/connection_pool.h"
#include "server/storage/postgres/sql_failure.h"

namespace latchkey::storage {

using postgres::ConnectionPool;
using postgres::SqlFailure;

std::unique_ptr<PostgresKeyStore> PostgresKeyStore::Create(PostgresOptions options) {
  return std::unique_ptr<PostgresKeyStore>(new PostgresKeyStore(std::move(options)));
}

PostgresKeyStore::PostgresKeyStore(PostgresOptions options)
    : options_(std::move(options)),
      pool_(std::make_unique<ConnectionPool>(options_.connection_string,
                                             postgres::SessionSettings{.connect_timeout = options_.connect_timeout,
                                                                       .lock_timeout = options_.lock_timeout,
                                                                       .statement_timeout = options_.statement_timeout},
                                             options_.pool_size, options_.pool_wait)) {}

PostgresKeyStore::~PostgresKeyStore() = default;

absl::Status PostgresKeyStore::OnConnection(const char* what, absl::FunctionRef<void(postgres::Connection&)> job) {
  for (bool fresh = false;; fresh = true) {
    ConnectionPool::PooledConnection lease = pool_->Borrow(fresh);
    if (!lease) return errors::DatabaseUnavailable();
    try {
      job(*lease);
      // A later commit goes by what its session has been warned of.
      if (lease->warned_of_replication()) lease.Drop();
      return absl::OkStatus();
    } catch (...) {
      const SqlFailure failure = postgres::FailureOf(std::current_exception(), lease->open());
      if (!lease->Reset()) lease.Drop();
      const bool broken = !lease->open();
      if (failure.kind != SqlFailure::Kind::kUnavailable || !broken || lease.fresh()) return failure.ToStatus(what);
    }
  }
}

absl::Status PostgresKeyStore::InTransaction(const char* what, absl::FunctionRef<void(postgres::Connection&)> job) {
  constexpr int kRetries = 3;
  bool fresh = false;
  for (int retries = 0;;) {
    ConnectionPool::PooledConnection lease = pool_->Borrow(fresh);
    if (!lease) return errors::DatabaseUnavailable();
    bool committing = false;
    try {
      lease->Exec("BEGIN");
      job(*lease);
      const int notices_before = lease->notices();
      committing = true;
      lease->Exec("COMMIT");
      if (lease->notices() == notices_before) return absl::OkStatus();
      lease.Drop();
      return errors::OutcomeUnknown();
    } catch (...) {
      const SqlFailure failure = postgres::FailureOf(std::current_exception(), lease->open());
      if (!lease->Reset()) lease.Drop();
      const bool broken = !lease->open();
      if (committing && (broken || failure.sqlstate == postgres::kCompletionUnknown)) return errors::OutcomeUnknown();
      const bool contended =
          failure.kind == SqlFailure::Kind::kContended || failure.kind == SqlFailure::Kind::kDuplicate;
      if (contended && retries++ < kRetries) continue;
      if (!broken || lease.fresh()) return failure.ToStatus(what);
      fresh = true;
    }
  }
}

absl::StatusOr<Committed> PostgresKeyStore::Commit(const LockPlan& plan, Decide decide) {
  return postgres::CommitWith(*pool_, options_.in_doubt_patience, plan, decide);
}

}  // namespace latchkey::storage
