#pragma once

#include "server/model/key_store.h"
#include "server/storage/postgres/connection.h"

namespace latchkey::storage::postgres {

// In the open READ COMMITTED transaction of `connection`: takes the plan's row locks in the contract's order, then
// reads, with statements issued after the last of them, what `decide` is shown. Throws.
LockedState LockAndRead(Connection& connection, const LockPlan& plan);

}  // namespace latchkey::storage::postgres
