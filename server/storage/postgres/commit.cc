#include "server/storage/postgres/commit.h"

#include <exception>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/base/errors.h"
#include "server/model/change_codec.h"
#include "server/storage/postgres/after_images.h"
#include "server/storage/postgres/in_doubt.h"
#include "server/storage/postgres/locked_state.h"
#include "server/storage/postgres/sql_failure.h"

namespace latchkey::storage::postgres {
namespace {

constexpr int kRetries = 3;

// One go at the transaction on one session.
class Attempt {
 public:
  Attempt(ConnectionPool& pool, ConnectionPool::PooledConnection lease, absl::Duration patience, const LockPlan& plan)
      : pool_(pool), lease_(std::move(lease)), patience_(patience), plan_(plan) {}

  // nullopt: try again, as failure() says.
  std::optional<absl::StatusOr<Committed>> Run(KeyStore::Decide decide);

  const SqlFailure& failure() const { return failure_; }
  // The session had been idle and was broken before anything could have been committed.
  bool was_stale() const { return stale_; }

 private:
  std::optional<absl::StatusOr<Committed>> AppendAndCommit(const Mutation& mutation);
  std::optional<absl::StatusOr<Committed>> AfterBrokenMessage(const CommitToken& token, const Mutation& mutation);
  // The session after an error: rolled back, or never used again.
  void Clean() {
    if (!lease_->Reset()) lease_.Drop();
  }

  ConnectionPool& pool_;
  ConnectionPool::PooledConnection lease_;
  const absl::Duration patience_;
  const LockPlan& plan_;
  SqlFailure failure_;
  bool stale_ = false;
};

std::optional<absl::StatusOr<Committed>> Attempt::Run(KeyStore::Decide decide) {
  absl::StatusOr<Mutation> mutation = Mutation();
  try {
    const LockedState state = BeginLockAndRead(*lease_, plan_);
    mutation = decide(state);
    if (!mutation.ok() || mutation->changes.empty()) {
      Clean();
      if (!mutation.ok()) return mutation.status();
      return Committed();
    }
    if (absl::Status written = keys::RequireLevel(mutation->changes, state.settings); !written.ok()) {
      Clean();
      return written;
    }
    WriteAfterImages(*lease_, plan_, state, *mutation);
  } catch (...) {
    failure_ = FailureOf(std::current_exception(), lease_->open());
    Clean();
    stale_ = !lease_->open() && !lease_.fresh();
    return std::nullopt;
  }
  return AppendAndCommit(*mutation);
}

std::optional<absl::StatusOr<Committed>> Attempt::AppendAndCommit(const Mutation& mutation) {
  const CommitToken token = CommitToken::Random();
  const int notices_before = lease_->notices();
  std::string message;
  try {
    // One message: a server that stalls now can't hold the log's head between the append and the commit. The token goes
    // first: whoever asks after this transaction may make it wait there, and nobody waits for the head meanwhile.
    message = absl::StrCat(token.InsertSql(*lease_), "; SELECT ", AppendCall(*lease_, mutation), "; COMMIT; ",
                           token.RowsSql(*lease_));
  } catch (...) {
    failure_ = FailureOf(std::current_exception(), lease_->open());
    Clean();
    stale_ = !lease_->open() && !lease_.fresh();
    return std::nullopt;
  }
  try {
    const pqxx::result rows = lease_->Exec(message);
    std::optional<Committed> committed = CommittedRows(rows, mutation);
    // The only thing a commit warns of is that it was not replicated as the operator asked: it may yet be lost.
    if (!committed.has_value() || lease_->notices() != notices_before) {
      lease_.Drop();
      return errors::OutcomeUnknown();
    }
    return *std::move(committed);
  } catch (...) {
    failure_ = FailureOf(std::current_exception(), lease_->open());
  }
  return AfterBrokenMessage(token, mutation);
}

std::optional<absl::StatusOr<Committed>> Attempt::AfterBrokenMessage(const CommitToken& token,
                                                                     const Mutation& mutation) {
  // A session that is still in its transaction has not committed it. Unless whoever answers says that he doesn't know.
  if (lease_->in_failed_transaction() && failure_.sqlstate != kCompletionUnknown) {
    Clean();
    return std::nullopt;
  }
  if (lease_->warned_of_replication()) {
    lease_.Drop();
    return errors::OutcomeUnknown();
  }
  Clean();
  const bool usable = lease_->open() && !lease_.dropped();
  if (!usable) lease_ = ConnectionPool::PooledConnection();  // Its place in the pool may be the only one.
  Outcome outcome = AskOutcome(pool_, usable ? &*lease_ : nullptr, token, mutation, patience_);
  switch (outcome.kind) {
    case Outcome::kCommitted:
      if (lease_ && lease_->warned_of_replication()) lease_.Drop();
      return std::move(outcome.committed);
    case Outcome::kAborted:
      return std::nullopt;
    case Outcome::kUnknown:
      break;
  }
  return errors::OutcomeUnknown();
}

}  // namespace

absl::StatusOr<Committed> CommitWith(ConnectionPool& pool, absl::Duration in_doubt_patience, const LockPlan& plan,
                                     KeyStore::Decide decide) {
  bool fresh = false;
  for (int retries = 0;;) {
    ConnectionPool::PooledConnection lease = pool.Borrow(fresh);
    if (!lease) return errors::DatabaseUnavailable();
    Attempt attempt(pool, std::move(lease), in_doubt_patience, plan);
    std::optional<absl::StatusOr<Committed>> result = attempt.Run(decide);
    if (result.has_value()) return *std::move(result);
    switch (attempt.failure().kind) {
      case SqlFailure::Kind::kContended:
      case SqlFailure::Kind::kDuplicate:
        if (retries++ == kRetries) return errors::Contended();
        continue;
      case SqlFailure::Kind::kUnavailable:
        if (!fresh && attempt.was_stale()) {
          fresh = true;
          continue;
        }
        break;
      case SqlFailure::Kind::kUnreadable:
      case SqlFailure::Kind::kBug:
        break;
    }
    return attempt.failure().ToStatus("a commit");
  }
}

}  // namespace latchkey::storage::postgres
