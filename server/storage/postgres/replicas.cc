#include <utility>
#include <vector>

#include "server/storage/postgres/connection.h"
#include "server/storage/postgres/postgres_key_store.h"
#include "server/storage/postgres/rows.h"

namespace latchkey::storage {

using postgres::Connection;

absl::Status PostgresKeyStore::EnterReplica(const std::string& replica, const std::string& doorbell) {
  return OnConnection("entering a replica", [&](Connection& connection) {
    connection.Run("enter_replica", postgres::Text(replica), postgres::Text(doorbell), keys::kOldestLevel,
                   keys::kNewestLevel);
  });
}

absl::Status PostgresKeyStore::LeaveReplica(const std::string& replica) {
  return OnConnection("removing a replica",
                      [&](Connection& connection) { connection.Run("leave_replica", postgres::Text(replica)); });
}

absl::StatusOr<bool> PostgresKeyStore::ForgetReplica(const std::string& replica, int64_t beat) {
  bool gone = false;
  const absl::Status status = OnConnection("forgetting a replica", [&](Connection& connection) {
    connection.Run("forget_replica", postgres::Text(replica), beat);
    gone = connection.Run("find_replica", postgres::Text(replica)).empty();
  });
  if (!status.ok()) return status;
  return gone;
}

absl::StatusOr<std::vector<Replica>> PostgresKeyStore::ReadReplicas() {
  std::vector<Replica> replicas;
  const absl::Status status = OnConnection("reading the replicas", [&](Connection& connection) {
    replicas.clear();
    for (const auto& row : connection.Run("read_replicas")) {
      std::string id = row[0].as<std::string>();
      if (replicas.empty() || replicas.back().id != id) replicas.emplace_back().id = std::move(id);
      Replica& replica = replicas.back();
      replica.beat = row[1].as<int64_t>();
      replica.applied_revision = row[2].as<int64_t>();
      replica.acknowledged.others = row[3].as<int64_t>();
      replica.doorbell = row[4].as<std::string>();
      replica.oldest_level = row[5].as<int>();
      replica.newest_level = row[6].as<int>();
      // A row for each organization that is behind; one without if none is.
      if (!row[7].is_null()) replica.acknowledged.behind.emplace_back(row[7].as<std::string>(), row[8].as<int64_t>());
    }
  });
  if (!status.ok()) return status;
  return replicas;
}

}  // namespace latchkey::storage
