#include "server/storage/postgres/in_doubt.h"

#include <chrono>
#include <exception>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "server/storage/postgres/rows.h"
#include "server/storage/postgres/sql_failure.h"

namespace latchkey::storage::postgres {
namespace {

constexpr absl::Duration kPause = absl::Milliseconds(50);

// nullopt: not known yet, ask again.
std::optional<Outcome> Ask(Connection& connection, const Transaction& transaction, const Mutation& mutation) {
  try {
    const pqxx::result status = connection.Run("transaction_status", transaction.id);
    if (status.at(0)[0].is_null()) return Outcome{Outcome::kUnknown, {}};
    const std::string text = status[0][0].as<std::string>();
    if (text == "in progress") return std::nullopt;
    if (text == "aborted") return Outcome{Outcome::kAborted, {}};
    // After a failover the number may belong to another transaction: only its own rows prove that it was ours.
    std::optional<Committed> committed = CommittedRows(connection.Exec(transaction.RowsSql()), mutation);
    if (!committed.has_value()) return Outcome{Outcome::kUnknown, {}};
    return Outcome{Outcome::kCommitted, *std::move(committed)};
  } catch (...) {
    // "is in the future": the server crashed before it had written anything of this transaction.
    if (FailureOf(std::current_exception(), connection.open()).sqlstate == "22023")
      return Outcome{Outcome::kAborted, {}};
    return std::nullopt;
  }
}

}  // namespace

Transaction Transaction::Of(Connection& connection) {
  const pqxx::result result = connection.Run("transaction_id");
  return {result.at(0)[0].as<std::string>(), result.at(0)[1].as<int64_t>(), HistoryFrom(result[0])};
}

std::string Transaction::RowsSql() const {
  return absl::StrCat("SELECT rev, at, body, chain FROM change_log WHERE rev > ", head_before, " AND xmin::text = ('",
                      id, "'::numeric % 4294967296)::text ORDER BY rev");
}

std::optional<Committed> CommittedRows(const pqxx::result& rows, const Mutation& mutation) {
  if (rows.size() != mutation.changes.size()) return std::nullopt;
  Committed committed;
  for (const auto& row : rows) {
    committed.rows.push_back(LogRowFrom(row, 0));
    if (committed.rows.back().body != mutation.changes[committed.rows.size() - 1].body) return std::nullopt;
  }
  return committed;
}

Outcome AskOutcome(ConnectionPool& pool, Connection* connection, const Transaction& transaction,
                   const Mutation& mutation, absl::Duration patience) {
  if (connection != nullptr) {
    std::optional<Outcome> outcome = Ask(*connection, transaction, mutation);
    return outcome.has_value() ? *std::move(outcome) : Outcome{};
  }
  const auto until = std::chrono::steady_clock::now() + absl::ToChronoNanoseconds(patience);
  while (std::chrono::steady_clock::now() < until) {
    if (ConnectionPool::PooledConnection lease = pool.Borrow(/*fresh=*/true)) {
      std::optional<Outcome> outcome = Ask(*lease, transaction, mutation);
      if (!outcome.has_value() && !lease->Reset()) lease.Drop();
      if (outcome.has_value()) return *std::move(outcome);
    }
    absl::SleepFor(kPause);
  }
  return {};
}

}  // namespace latchkey::storage::postgres
