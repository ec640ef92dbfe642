#pragma once

#include "server/model/key_store.h"
#include "server/storage/postgres/connection.h"

namespace latchkey::storage::postgres {

// Begins a READ COMMITTED transaction, takes the plan's row locks in the contract's order, then reads, with statements
// after the last of them, what `decide` is shown. One round trip; one more for the locks of keys, and one for the roles
// of children. Throws.
LockedState BeginLockAndRead(Connection& connection, const LockPlan& plan);

}  // namespace latchkey::storage::postgres
