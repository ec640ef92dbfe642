#pragma once

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/model/key_store.h"
#include "server/storage/postgres/connection_pool.h"

namespace latchkey::storage::postgres {

// KeyStore::Commit on `pool`. Whole transactions are tried again after contention, at most three times; once on a fresh
// session if the first broke before the message that commits was sent. If the session broke after it, another one is
// asked what became of the transaction, for `in_doubt_patience`. Never throws.
absl::StatusOr<Committed> CommitWith(ConnectionPool& pool, absl::Duration in_doubt_patience, const LockPlan& plan,
                                     KeyStore::Decide decide);

}  // namespace latchkey::storage::postgres
