#pragma once

#include <memory>
#include <string>
#include <vector>

#include "tests/bench/load.h"
#include "tests/support/child_process.h"

namespace latchkey::bench {

// The two processes that are measured: `latchkeyd dev` with its private PostgreSQL, and the bare echo server. Each is a
// child that dies with this process. What can't be started aborts the process with the end of its log.
class Servers {
 public:
  // `directory` must not exist; `program` is this program's path, for the echo server.
  Servers(const std::string& latchkeyd, const std::string& program, const std::string& directory);
  ~Servers();

  // Stops latchkeyd with TERM, starts it anew over the same data and connects again: what was proven is forgotten.
  void RestartLatchkeyd();

  const Channels& echo() const { return echo_channels_; }
  pid_t echo_pid() const { return echo_->pid(); }
  const Channels& latchkeyd() const { return channels_; }
  pid_t latchkeyd_pid() const { return latchkeyd_->pid(); }
  // Key strings of the first keys.
  const std::string& verifier_key() const { return verifier_key_; }
  const std::string& owner_key() const { return owner_key_; }

 private:
  void StartLatchkeyd();
  void StopLatchkeyd();

  const std::string program_;
  const std::string directory_;
  std::unique_ptr<testing::ChildProcess> echo_;
  Channels echo_channels_;
  std::unique_ptr<testing::ChildProcess> latchkeyd_;
  Channels channels_;
  std::string verifier_key_;
  std::string owner_key_;
};

}  // namespace latchkey::bench
