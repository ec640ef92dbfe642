#pragma once

#include <memory>
#include <string>
#include <vector>

#include "tests/bench/load.h"
#include "tests/support/child_process.h"

namespace latchkey::bench {

// The processes that are measured: `latchkeyd dev` with its private PostgreSQL, and the bare echo servers. latchkeyd
// keeps proofs in memory only, so that a restart makes every key's first verification a slow one again. Each is a child
// that dies with this process. What can't be started aborts the process with the end of its log.
class Servers {
 public:
  // `directory` must not exist; `program` is this program's path, for the echo servers.
  Servers(const std::string& latchkeyd, const std::string& program, const std::string& directory);
  ~Servers();

  // Stops latchkeyd with TERM, starts it anew over the same data and connects again: what was proven is forgotten.
  void RestartLatchkeyd();

  enum class Which { kCallbackEcho, kQueueEcho, kLatchkeyd };
  const Channels& channels(Which which) const;
  pid_t pid(Which which) const;
  // Key strings of the first keys.
  const std::string& verifier_key() const { return verifier_key_; }
  const std::string& owner_key() const { return owner_key_; }

 private:
  struct Echo {
    std::unique_ptr<testing::ChildProcess> process;
    Channels channels;
  };
  static Echo StartEcho(const std::string& program, const std::string& flag);
  void StartLatchkeyd();
  void StopLatchkeyd();

  const std::string program_;
  const std::string directory_;
  Echo callback_echo_;
  Echo queue_echo_;
  std::unique_ptr<testing::ChildProcess> latchkeyd_;
  Channels channels_;
  std::string verifier_key_;
  std::string owner_key_;
};

}  // namespace latchkey::bench
