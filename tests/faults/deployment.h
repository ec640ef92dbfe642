#pragma once

#include <grpcpp/channel.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "server/model/records.h"
#include "tests/faults/caller.h"
#include "tests/support/child_process.h"
#include "tests/support/temp_directory.h"

namespace latchkey::faults {

// A `latchkeyd serve` that can be killed and started again at the same address (a Unix socket). Not thread-safe but for
// Kill against everything that uses channel().
class ServerProcess {
 public:
  explicit ServerProcess(std::vector<std::string> arguments, const std::string& socket);
  // SIGKILL if it runs.
  ~ServerProcess() = default;

  // Does not wait; see WaitUntilServing.
  void Start();
  // SIGKILL; returns once it is dead.
  void Kill();
  // From the next Start on it is this program.
  void ReplaceBy(const std::string& program) { arguments_.front() = program; }
  // SIGSTOP, SIGCONT.
  void Signal(int signal) { process_->Signal(signal); }
  // True once KeyVerify and KeyAdmin are SERVING; fails the test, with what the server wrote, if they are not within
  // half a minute.
  bool WaitUntilServing();
  // Its exit code once it has ended by itself, within half a minute.
  std::optional<int> WaitForEnd();

  // Its log since the last Start; a server that meets nothing unusual writes none.
  std::string Log() const { return process_->error(); }
  const std::shared_ptr<grpc::Channel>& channel() const { return channel_; }
  // The path of the Unix socket that it listens on.
  const std::string& socket() const { return socket_; }

 private:
  bool Serving(const std::string& service);

  std::vector<std::string> arguments_;
  const std::string socket_;
  const std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<testing::ChildProcess> process_;
};

// What the servers of one database share: key ring, database URL, the first owner's key.
class Deployment {
 public:
  // `latchkeyd`: the program of the servers and of what is done without one; "" = today's.
  explicit Deployment(std::string database, const std::string& latchkeyd = "");

  // A server that is not started yet, with a state directory of its own. `database`: another way to the database.
  std::unique_ptr<ServerProcess> NewServer(const std::vector<std::string>& more_arguments = {},
                                           const std::string& database = "");
  // `latchkeyd bootstrap`. Returns the key string of an owner of `system`, "" if it failed.
  std::string Bootstrap();
  // `latchkeyd set-bound`: L, 2..60 s.
  void SetBound(int seconds);

  // `latchkeyd upgrade finish`, by `program`.
  testing::ChildProcess::Result FinishUpgrade(const std::string& program) const;

  const std::string& database() const { return database_; }

 private:
  bool Run(std::vector<std::string> arguments) const;

  const std::string database_;
  const std::string latchkeyd_;
  testing::TempDirectory directory_;
  const std::string ring_file_;
  const std::string url_file_;
  int servers_ = 0;
};

// One started server over a database with the first owner and the organization `acme`.
struct OneServer {
  explicit OneServer(const std::string& database);

  Deployment deployment;
  std::string owner_string;
  std::unique_ptr<ServerProcess> server;
  std::unique_ptr<Caller> owner;  // Of `system`.
};

// A key in `acme` that must be made; fails the test if it is not.
v1::CreateKeyResponse MustCreate(const Caller& caller, const std::string& role, const std::string& display_name);

}  // namespace latchkey::faults
