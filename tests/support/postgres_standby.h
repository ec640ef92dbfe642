#pragma once

#include <sys/types.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/app/dev/child_process.h"

namespace latchkey::testing {

// A streaming standby of an EmbeddedPostgres, in a directory of its own under /tmp that is removed at the end. It runs
// as the user that owns the primary's data. Replication is asynchronous: what the link to the primary does not let
// through, the primary acknowledges all the same. Blocks; not thread-safe.
class PostgresStandby {
 public:
  // Lets standbys connect to the primary whose data is in `data_directory`; effective when it is started again.
  static void LetStandbysIn(const std::string& data_directory);

  // Copies the primary that `primary` (EmbeddedPostgres::ConnectionString) leads to, and follows it through
  // 127.0.0.1:`port`, a proxy in front of its socket.
  static absl::StatusOr<std::unique_ptr<PostgresStandby>> Start(const std::string& primary, int port);
  // Stops it at once, and removes its data.
  ~PostgresStandby();
  PostgresStandby(const PostgresStandby&) = delete;
  PostgresStandby& operator=(const PostgresStandby&) = delete;

  std::string ConnectionString() const;
  // Until everything that is committed on the primary now can be read here; false after a minute.
  bool WaitUntilItHasAllOf(const std::string& primary) const;
  // Makes it a primary; returns once it takes writes.
  void Promote() const;

 private:
  explicit PostgresStandby(std::string primary);
  absl::Status Copy();
  absl::Status Launch(int port);
  app::ChildProcess::Command Command(std::vector<std::string> arguments) const;
  std::string Log() const;

  const std::string primary_;
  std::string directory_;
  std::optional<app::ChildProcess::User> user_;
  std::unique_ptr<app::ChildProcess> process_;
};

}  // namespace latchkey::testing
