#pragma once

#include "server/model/key_store.h"
#include "server/storage/postgres/connection.h"

namespace latchkey::storage::postgres {

// KeyStore::LoadSnapshot on one session: Begin and everything after it, in one repeatable-read transaction. Throws;
// then the session may hold half of a COPY.
SnapshotHead LoadSnapshotOn(Connection& connection, SnapshotSink& sink);

}  // namespace latchkey::storage::postgres
