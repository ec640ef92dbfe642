#include "tests/faults/deployment.h"

#include <gtest/gtest.h>
#include <signal.h>

#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "grpc/health/v1/health.grpc.pb.h"

namespace latchkey::faults {
namespace {

using ::latchkey::testing::ChildProcess;

constexpr absl::Duration kPatience = absl::Seconds(30);

std::string Tail(const std::string& text) { return text.size() <= 4000 ? text : text.substr(text.size() - 4000); }

}  // namespace

ServerProcess::ServerProcess(std::vector<std::string> arguments, const std::string& socket)
    : arguments_(std::move(arguments)), socket_(socket), channel_(ChannelTo(absl::StrCat("unix:", socket))) {}

void ServerProcess::Start() {
  process_.reset();
  process_ = std::make_unique<ChildProcess>(ChildProcess::Options{.arguments = arguments_});
}

void ServerProcess::Kill() {
  process_->Signal(SIGKILL);
  EXPECT_TRUE(process_->WaitFor(kPatience).has_value());
}

bool ServerProcess::WaitUntilServing() {
  const absl::Time give_up = absl::Now() + kPatience;
  while (absl::Now() < give_up) {
    if (Serving("latchkey.v1.KeyVerify") && Serving("latchkey.v1.KeyAdmin")) return true;
    absl::SleepFor(absl::Milliseconds(10));
  }
  ADD_FAILURE() << "the server is not SERVING. It wrote:\n" << Tail(process_->error());
  return false;
}

std::optional<int> ServerProcess::WaitForEnd() { return process_->WaitFor(kPatience); }

bool ServerProcess::Serving(const std::string& service) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(1));
  context.set_wait_for_ready(true);
  grpc::health::v1::HealthCheckRequest request;
  request.set_service(service);
  grpc::health::v1::HealthCheckResponse response;
  const auto stub = grpc::health::v1::Health::NewStub(channel_);
  return stub->Check(&context, request, &response).ok() &&
         response.status() == grpc::health::v1::HealthCheckResponse::SERVING;
}

Deployment::Deployment(std::string database, const std::string& latchkeyd)
    : database_(std::move(database)),
      latchkeyd_(latchkeyd.empty() ? testing::Program("server/latchkeyd") : latchkeyd),
      ring_file_(directory_.Child("keyring.json")),
      url_file_(directory_.WriteFile("database-url", absl::StrCat(database_, "\n"))) {
  Run({"keyring", "init", "--keyring", ring_file_});
}

bool Deployment::Run(std::vector<std::string> arguments) const {
  arguments.insert(arguments.begin(), latchkeyd_);
  const std::string command = arguments[1];
  const ChildProcess::Result result = ChildProcess::Run({.arguments = std::move(arguments)});
  EXPECT_EQ(result.exit_code, 0) << "latchkeyd " << command << ": " << result.error;
  return result.exit_code == 0;
}

ChildProcess::Result Deployment::FinishUpgrade(const std::string& program) const {
  return ChildProcess::Run({.arguments = {program, "upgrade", "finish", "--database-url-file", url_file_}});
}

std::unique_ptr<ServerProcess> Deployment::NewServer(const std::vector<std::string>& more_arguments,
                                                     const std::string& database) {
  const std::string socket = directory_.Child(absl::StrCat("server", ++servers_));
  const std::string url_file =
      database.empty() ? url_file_
                       : directory_.WriteFile(absl::StrCat("database-url", servers_), absl::StrCat(database, "\n"));
  std::vector<std::string> arguments = {latchkeyd_,
                                        "serve",
                                        "--database-url-file",
                                        url_file,
                                        "--state-dir",
                                        absl::StrCat(socket, ".state"),
                                        "--keyring",
                                        ring_file_,
                                        "--listen",
                                        absl::StrCat("unix:", socket),
                                        "--hash-profile",
                                        "random-key",
                                        "--log-level",
                                        "warning"};
  arguments.insert(arguments.end(), more_arguments.begin(), more_arguments.end());
  return std::make_unique<ServerProcess>(std::move(arguments), socket);
}

std::string Deployment::Bootstrap() {
  const std::string file = directory_.Child("system.key");
  if (!Run({"bootstrap", "--database-url-file", url_file_, "--keyring", ring_file_, "--out", file})) return "";
  return std::string(absl::StripSuffix(testing::ReadFile(file), "\n"));
}

void Deployment::SetBound(int seconds) {
  Run({"set-bound", "--database-url-file", url_file_, "--seconds", std::to_string(seconds)});
}

OneServer::OneServer(const std::string& database) : deployment(database), owner_string(deployment.Bootstrap()) {
  server = deployment.NewServer();
  server->Start();
  server->WaitUntilServing();
  owner = std::make_unique<Caller>(server->channel(), owner_string);
  const Reply made = Insist([&] { return owner->CreateOrganization("acme"); });
  EXPECT_TRUE(made.ok()) << made;
}

v1::CreateKeyResponse MustCreate(const Caller& caller, const std::string& role, const std::string& display_name) {
  v1::CreateKeyResponse created;
  const Reply reply = WhileBusy([&] { return caller.Create(role, display_name, "", &created); });
  EXPECT_TRUE(reply.ok()) << reply;
  return created;
}

}  // namespace latchkey::faults
