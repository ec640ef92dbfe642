#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "server/app/dev/embedded_postgres.h"
#include "server/base/clock.h"
#include "server/keys/crypto/hash_pool.h"

struct pg_conn;

namespace latchkey::bench {

// What no server of this kind can do without, one at a time: a hash, a point select, a commit. The hashes run in this
// process on the server's own hash pool and profile; the statements on a PostgreSQL of its own with the settings of
// `latchkeyd dev`'s. Every call blocks, aborts the process if it fails, and returns nanoseconds.
class Floors {
 public:
  // Makes and starts its PostgreSQL in `directory`, which must not exist.
  explicit Floors(const std::string& directory);
  ~Floors();
  Floors(const Floors&) = delete;
  Floors& operator=(const Floors&) = delete;

  // One Argon2id hash under the default profile.
  int64_t Hash();
  // A prepared select of one row of 10,000 by its text key.
  int64_t PointSelect();
  // BEGIN; UPDATE of one row; COMMIT, in one round trip; durable.
  int64_t Commit();

 private:
  void Run(const std::string& sql);

  base::SystemClock clock_;
  keys::HashPool hashes_;
  std::unique_ptr<app::EmbeddedPostgres> postgres_;
  pg_conn* connection_ = nullptr;
  int next_row_ = 0;
};

}  // namespace latchkey::bench
