#pragma once

#include <grpcpp/channel.h>
#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "tests/support/child_process.h"
#include "tests/support/rpc_client.h"
#include "tests/support/temp_directory.h"

namespace latchkey::testing {

// How long a server may take to start on a busy machine, the first start with its initdb included.
inline constexpr absl::Duration kStartPatience = absl::Minutes(2);

// Asks again and again until it is true; false once `patience` is over.
bool Eventually(absl::Duration patience, const std::function<bool()>& is_true);

// A channel of its own, that tries again quickly after an outage.
std::shared_ptr<grpc::Channel> ChannelTo(const std::string& address);

// The health of `service`; SERVICE_UNKNOWN if that is what it answers, UNKNOWN if it does not answer.
grpc::health::v1::HealthCheckResponse::ServingStatus HealthOf(const std::shared_ptr<grpc::Channel>& channel,
                                                              const std::string& service = "");

// One `latchkeyd dev` or `latchkeyd serve` as a child process, on a free port of loopback. Stopped with TERM at the
// end.
class RunningServer {
 public:
  // `arguments` begin with the subcommand. Waits until it listens (serve) or is ready (dev); fails the test, and has
  // address "", if it does not get there. `program`: in the build tree.
  explicit RunningServer(std::vector<std::string> arguments, std::vector<std::string> environment = {},
                         const std::string& program = "server/latchkeyd");
  ~RunningServer();

  const std::string& address() const { return address_; }
  bool listens() const { return !address_.empty(); }
  const std::shared_ptr<grpc::Channel>& channel() const { return channel_; }
  RpcClient As(const std::string& key_string) const { return RpcClient(channel_, key_string); }
  // Until Verify answers.
  bool WaitUntilServing(absl::Duration patience = kStartPatience) const;
  // TERM; its exit code, nullopt if it does not end within a minute.
  std::optional<int> Terminate();
  // SIGKILL, and waits for its end.
  void Kill();
  ChildProcess& process() { return *process_; }

 private:
  std::unique_ptr<ChildProcess> process_;
  std::string address_;
  std::shared_ptr<grpc::Channel> channel_;
};

// `latchkeyd dev` over a data directory, with the cheap hash profile unless `flags` choose one.
class DevServer {
 public:
  explicit DevServer(const std::string& data_directory,
                     std::vector<std::string> flags = {"--hash-profile", "random-key"},
                     std::vector<std::string> environment = {});

  RunningServer& server() { return server_; }
  const std::string& data_directory() const { return data_directory_; }
  std::string KeyFile(const std::string& name) const { return data_directory_ + "/" + name + ".key"; }
  // The key string in KeyFile(name).
  std::string Key(const std::string& name) const;
  RpcClient SystemOwner() const { return server_.As(Key("system")); }
  RpcClient AcmeOwner() const { return server_.As(Key("acme")); }
  RpcClient Verifier() const { return server_.As(Key("verifier")); }

 private:
  std::string data_directory_;
  RunningServer server_;
};

// The one that most tests share: started by the first that asks, stopped after the last test.
DevServer& SharedDevServer();
// Registers its end; before RUN_ALL_TESTS.
void StopSharedDevServerAtEnd();

// What `latchkeyd serve` needs: a database (empty), its URL file, a key ring, and the first owner of `system`, each
// made with latchkeyd itself.
class Installation {
 public:
  // Fails the test if a step does.
  explicit Installation(const std::string& connection_string);

  // Arguments of `latchkeyd serve` on it, and `more`.
  std::vector<std::string> Serve(std::vector<std::string> more = {"--hash-profile", "random-key"}) const;
  std::string database_url_file() const { return directory_.Child("database.url"); }
  std::string keyring_file() const { return directory_.Child("keyring.json"); }
  std::string system_key() const;
  const TempDirectory& directory() const { return directory_; }

 private:
  TempDirectory directory_;
};

// Runs latchkeyd to its end.
ChildProcess::Result RunLatchkeyd(std::vector<std::string> arguments, std::vector<std::string> environment = {});

// The organization id that no test had before, with an owner's key.
struct Tenant {
  std::string organization;
  v1::CreateKeyResponse owner;
};
Tenant NewTenant(DevServer& server);

}  // namespace latchkey::testing
