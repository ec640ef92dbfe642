#pragma once

#include <string>

#include "server/model/key_store.h"
#include "server/storage/postgres/connection.h"

namespace latchkey::storage::postgres {

// In the open transaction of `connection`, in one round trip and two for each new secret: writes the mutation's
// after-images, secrets and request id, everything but the log. A key or organization that `state` shows is updated,
// any other is inserted: a second insert fails as a duplicate instead of overwriting what was not looked at. Throws.
void WriteAfterImages(Connection& connection, const LockPlan& plan, const LockedState& state, const Mutation& mutation);

// "append_changes(…)" for the mutation: its bodies, and the row that each belongs to.
std::string AppendCall(const Connection& connection, const Mutation& mutation);

}  // namespace latchkey::storage::postgres
