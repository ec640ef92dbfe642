#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/time/time.h"
#include "server/model/key_store.h"
#include "server/storage/postgres/connection_pool.h"

namespace latchkey::storage::postgres {

// How a transaction is found again by another session.
struct Transaction {
  std::string id;           // pg_current_xact_id(): 64 bits.
  int64_t head_before = 0;  // Its log rows come after this one.
  core::HistoryId history = core::kNoHistory;

  // Of the session's open transaction. Throws.
  static Transaction Of(Connection& connection);
  // Selects its log rows.
  std::string RowsSql() const;
};

// The rows of a committed mutation; nullopt if they are not the mutation's.
std::optional<Committed> CommittedRows(const pqxx::result& rows, const Mutation& mutation);

struct Outcome {
  enum Kind { kCommitted, kAborted, kUnknown };
  Kind kind = kUnknown;
  Committed committed;  // If kCommitted.
};

// Asks the database what became of a transaction whose commit gave no clear answer: on `connection` if not null, else
// on fresh sessions of `pool`; again while it is in progress or nobody answers. No try begins after `patience`; the
// last may take one wait for a place in the pool, one connect, and a statement's time if that succeeds. Never throws.
Outcome AskOutcome(ConnectionPool& pool, Connection* connection, const Transaction& transaction,
                   const Mutation& mutation, absl::Duration patience);

}  // namespace latchkey::storage::postgres
