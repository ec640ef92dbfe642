#include "server/storage/postgres/in_doubt.h"

#include <chrono>
#include <exception>
#include <utility>

#include "absl/time/clock.h"
#include "client/core/secret.h"
#include "server/storage/postgres/rows.h"
#include "server/storage/postgres/sql_failure.h"

namespace latchkey::storage::postgres {
namespace {

constexpr absl::Duration kPause = absl::Milliseconds(50);
constexpr size_t kTokenBytes = 16;

// False if it is there already. Throws for any other reason.
bool Insert(Connection& connection, const CommitToken& token) {
  try {
    connection.Exec(token.InsertSql(connection));
    return true;
  } catch (...) {
    const SqlFailure failure = FailureOf(std::current_exception(), connection.open());
    if (failure.kind != SqlFailure::Kind::kDuplicate) throw;
    return false;
  }
}

// nullopt: not known yet, ask again.
std::optional<Outcome> Ask(Connection& connection, const CommitToken& token, const Mutation& mutation) {
  try {
    const int notices_before = connection.notices();
    const bool aborted = Insert(connection, token);
    // Its own insertion is the write that has to be durable; else there is none yet.
    if (!aborted) Insert(connection, CommitToken::Random());
    if (connection.notices() != notices_before) return Outcome{};
    if (aborted) return Outcome{Outcome::kAborted, {}};
    std::optional<Committed> committed = CommittedRows(connection.Exec(token.RowsSql(connection)), mutation);
    if (!committed.has_value()) return Outcome{};
    // The history in which it committed may be over.
    committed->history = core::kNoHistory;
    return Outcome{Outcome::kCommitted, *std::move(committed)};
  } catch (...) {
    return std::nullopt;
  }
}

}  // namespace

CommitToken CommitToken::Random() {
  return CommitToken(HexText(std::string(core::Secret::Random(kTokenBytes).Expose())));
}

std::string CommitToken::InsertSql(Connection& connection) const { return connection.Execute("insert_token", {hex_}); }

std::string CommitToken::RowsSql(Connection& connection) const { return connection.Execute("token_rows", {hex_}); }

std::optional<Committed> CommittedRows(const pqxx::result& rows, const Mutation& mutation) {
  if (rows.size() != mutation.changes.size()) return std::nullopt;
  Committed committed;
  for (const auto& row : rows) {
    committed.rows.push_back(LogRowFrom(row, 0));
    if (committed.rows.back().body != mutation.changes[committed.rows.size() - 1].body) return std::nullopt;
    // Of the database that has the rows now.
    committed.history = HistoryFrom(row);
  }
  return committed;
}

Outcome AskOutcome(ConnectionPool& pool, Connection* connection, const CommitToken& token, const Mutation& mutation,
                   absl::Duration patience) {
  if (connection != nullptr) {
    std::optional<Outcome> outcome = Ask(*connection, token, mutation);
    return outcome.has_value() ? *std::move(outcome) : Outcome{};
  }
  const auto until = std::chrono::steady_clock::now() + absl::ToChronoNanoseconds(patience);
  while (std::chrono::steady_clock::now() < until) {
    if (ConnectionPool::PooledConnection lease = pool.Borrow(/*fresh=*/true)) {
      std::optional<Outcome> outcome = Ask(*lease, token, mutation);
      if (lease->warned_of_replication() || (!outcome.has_value() && !lease->Reset())) lease.Drop();
      if (outcome.has_value()) return *std::move(outcome);
    }
    absl::SleepFor(kPause);
  }
  return {};
}

}  // namespace latchkey::storage::postgres
