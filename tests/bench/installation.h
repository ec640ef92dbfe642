#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "server/app/dev/embedded_postgres.h"
#include "server/keys/crypto/key_ring.h"
#include "tests/bench/bulk_keys.h"
#include "tests/bench/load.h"
#include "tests/support/child_process.h"

namespace latchkey::bench {

// A `latchkeyd serve` of an Installation; ends with it.
class Server {
 public:
  // Returns once it has said that it is ready; aborts the process, with the end of its log, if it does not.
  Server(std::vector<std::string> arguments, int channels);
  // TERM, and waits.
  ~Server();

  pid_t pid() const { return process_->pid(); }
  const std::string& address() const { return address_; }
  const Channels& channels() const { return channels_; }
  // From its start to "ready".
  absl::Duration time_to_ready() const { return time_to_ready_; }

 private:
  std::unique_ptr<testing::ChildProcess> process_;
  std::string address_;
  Channels channels_;
  absl::Duration time_to_ready_;
};

// A database with its first keys, its key ring and as many keys as wanted, and how to start servers on it. Aborts the
// process if anything fails.
class Installation {
 public:
  // `name`: of the database, in `postgres`; `directory` is made.
  Installation(app::EmbeddedPostgres& postgres, const std::string& name, const std::string& latchkeyd,
               const std::string& directory, int64_t proven, int64_t unproven);

  std::unique_ptr<Server> Start(const std::vector<std::string>& more_arguments = {}) const;

  const BulkKeys& keys() const { return keys_; }
  const std::string& database() const { return database_; }
  // Key strings: of an owner of `acme`, of one who may verify everybody's keys.
  const std::string& owner_key() const { return owner_key_; }
  const std::string& verifier_key() const { return verifier_key_; }
  // Copying the keys, in all.
  absl::Duration time_to_fill() const { return time_to_fill_; }

 private:
  const std::string latchkeyd_;
  const std::string directory_;
  std::string database_;
  BulkKeys keys_;
  std::string owner_key_;
  std::string verifier_key_;
  absl::Duration time_to_fill_;
};

}  // namespace latchkey::bench
