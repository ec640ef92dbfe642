#include "tests/support/server_fixture.h"

#include <grpcpp/create_channel.h>
#include <signal.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <regex>
#include <thread>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace latchkey::testing {
namespace {

using grpc::health::v1::HealthCheckResponse;

// What it says when it listens; "" until then.
std::string AddressIn(const ChildProcess& process) {
  static const std::regex* const ready = new std::regex("latchkey ready on (\\S+)\n");
  static const std::regex* const listening = new std::regex("\"msg\":\"listening\",\"address\":\"([^\"]+)\"");
  std::smatch match;
  if (const std::string output = process.output(); std::regex_search(output, match, *ready)) return match[1];
  if (const std::string error = process.error(); std::regex_search(error, match, *listening)) return match[1];
  return "";
}

std::string Line(const std::string& path) {
  std::string text = ReadFile(path);
  absl::StripTrailingAsciiWhitespace(&text);
  return text;
}

struct SharedServer {
  TempDirectory directory;
  std::unique_ptr<DevServer> server;
};
std::unique_ptr<SharedServer> shared_server;

class SharedServerEnd : public ::testing::Environment {
 public:
  void TearDown() override {
    if (shared_server == nullptr) return;
    EXPECT_EQ(shared_server->server->server().Terminate(), 0) << shared_server->server->server().process().error();
    shared_server = nullptr;
  }
};

}  // namespace

bool Eventually(absl::Duration patience, const std::function<bool()>& is_true) {
  const auto deadline = std::chrono::steady_clock::now() + absl::ToChronoMilliseconds(patience);
  while (!is_true()) {
    if (std::chrono::steady_clock::now() >= deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  return true;
}

std::shared_ptr<grpc::Channel> ChannelTo(const std::string& address) {
  // An idle channel of the stubs looks at its connection only every 5 s, and a server that drains waits for it.
  static const bool impatient = setenv("GRPC_CLIENT_CHANNEL_BACKUP_POLL_INTERVAL_MS", "50", 1) == 0;
  EXPECT_TRUE(impatient);
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 50);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 200);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
}

HealthCheckResponse::ServingStatus HealthOf(const std::shared_ptr<grpc::Channel>& channel, const std::string& service) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(5));
  grpc::health::v1::HealthCheckRequest request;
  request.set_service(service);
  HealthCheckResponse response;
  const grpc::Status status = grpc::health::v1::Health::NewStub(channel)->Check(&context, request, &response);
  if (status.error_code() == grpc::StatusCode::NOT_FOUND) return HealthCheckResponse::SERVICE_UNKNOWN;
  return status.ok() ? response.status() : HealthCheckResponse::UNKNOWN;
}

RunningServer::RunningServer(std::vector<std::string> arguments, std::vector<std::string> environment,
                             const std::string& program) {
  arguments.insert(arguments.begin(), Program(program));
  arguments.insert(arguments.end(), {"--listen", "127.0.0.1:0"});
  process_ = std::make_unique<ChildProcess>(
      ChildProcess::Options{.arguments = std::move(arguments), .environment = std::move(environment)});
  std::optional<int> ended;
  Eventually(kStartPatience, [&] {
    ended = process_->WaitFor(absl::ZeroDuration());
    address_ = AddressIn(*process_);
    return !address_.empty() || ended.has_value();
  });
  EXPECT_FALSE(ended.has_value()) << "latchkeyd ended with " << *ended << ": " << process_->error();
  EXPECT_NE(address_, "") << process_->error();
  channel_ = ChannelTo(address_);
}

RunningServer::~RunningServer() {
  if (process_ != nullptr && !process_->WaitFor(absl::ZeroDuration()).has_value()) Terminate();
}

bool RunningServer::WaitUntilServing(absl::Duration patience) const {
  return Eventually(patience, [this] { return HealthOf(channel_) == HealthCheckResponse::SERVING; });
}

std::optional<int> RunningServer::Terminate() {
  process_->Signal(SIGTERM);
  return process_->WaitFor(absl::Minutes(1));
}

void RunningServer::Kill() {
  process_->Signal(SIGKILL);
  EXPECT_EQ(process_->WaitFor(absl::Minutes(1)), 128 + SIGKILL);
}

DevServer::DevServer(const std::string& data_directory, std::vector<std::string> flags,
                     std::vector<std::string> environment)
    : data_directory_(data_directory),
      server_(
          [&] {
            flags.insert(flags.begin(), {"dev", "--data-dir", data_directory});
            return flags;
          }(),
          std::move(environment)) {}

std::string DevServer::Key(const std::string& name) const { return Line(KeyFile(name)); }

DevServer& SharedDevServer() {
  if (shared_server == nullptr) {
    shared_server = std::make_unique<SharedServer>();
    shared_server->server = std::make_unique<DevServer>(shared_server->directory.Child("data"));
  }
  return *shared_server->server;
}

void StopSharedDevServerAtEnd() { ::testing::AddGlobalTestEnvironment(new SharedServerEnd()); }

Installation::Installation(const std::string& connection_string) {
  directory_.WriteFile("database.url", connection_string + "\n");
  const ChildProcess::Result ring = RunLatchkeyd({"keyring", "init", "--keyring", keyring_file()});
  EXPECT_EQ(ring.exit_code, 0) << ring.error;
  const ChildProcess::Result first = RunLatchkeyd({"bootstrap", "--database-url-file", database_url_file(), "--keyring",
                                                   keyring_file(), "--out", directory_.Child("system.key")});
  EXPECT_EQ(first.exit_code, 0) << first.error;
}

std::vector<std::string> Installation::Serve(std::vector<std::string> more) const {
  more.insert(more.begin(), {"serve", "--database-url-file", database_url_file(), "--keyring", keyring_file()});
  return more;
}

std::string Installation::system_key() const { return Line(directory_.Child("system.key")); }

ChildProcess::Result RunLatchkeyd(std::vector<std::string> arguments, std::vector<std::string> environment) {
  arguments.insert(arguments.begin(), Program("server/latchkeyd"));
  return ChildProcess::Run({.arguments = std::move(arguments), .environment = std::move(environment)});
}

Tenant NewTenant(DevServer& server) {
  static std::atomic<int> count = 0;
  Tenant tenant{absl::StrCat("tenant-", ++count), {}};
  const absl::StatusOr<v1::Organization> made = server.SystemOwner().CreateOrganization(tenant.organization);
  EXPECT_TRUE(made.ok()) << made.status();
  tenant.owner = server.SystemOwner().MustCreate(tenant.organization, "First owner", "owner");
  return tenant;
}

}  // namespace latchkey::testing
