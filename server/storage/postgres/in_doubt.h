#pragma once

#include <optional>
#include <string>

#include "absl/time/time.h"
#include "server/model/key_store.h"
#include "server/storage/postgres/connection_pool.h"

namespace latchkey::storage::postgres {

// Commit token: 16 random bytes that a transaction inserts beside its log rows, so that another session can find out
// what became of it. Who inserts it second fails.
class CommitToken {
 public:
  static CommitToken Random();

  // For Exec: inserts it, and forgets two that nobody will ask for any more (an hour old and 100,000 revisions behind).
  std::string InsertSql(Connection& connection) const;
  // For Exec: selects the log rows of the transaction that inserted it, and the database's history.
  std::string RowsSql(Connection& connection) const;

 private:
  explicit CommitToken(std::string hex) : hex_(std::move(hex)) {}

  std::string hex_;
};

// The rows of a committed mutation, by RowsSql; nullopt if they are not the mutation's.
std::optional<Committed> CommittedRows(const pqxx::result& rows, const Mutation& mutation);

struct Outcome {
  enum Kind { kCommitted, kAborted, kUnknown };
  Kind kind = kUnknown;
  Committed committed;  // If kCommitted.
};

// Asks the database what became of a transaction whose commit gave no clear answer: inserts its token too. If it is
// there, the transaction has committed; if not, it never will. Either counts only when a write of the asking session
// has committed after that, replicated as the operator asks: what is not may yet be lost, and who asks can't see which
// it is. On `connection` if not null, else on fresh sessions of `pool`; again while the transaction is in progress or
// nobody answers. No try begins after `patience`; the last may take one wait for a place in the pool, one connect, and
// a statement's time if that succeeds. Never throws.
Outcome AskOutcome(ConnectionPool& pool, Connection* connection, const CommitToken& token, const Mutation& mutation,
                   absl::Duration patience);

}  // namespace latchkey::storage::postgres
