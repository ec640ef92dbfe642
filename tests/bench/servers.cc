#include "tests/bench/servers.h"

#include <signal.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>

#include "absl/strings/str_cat.h"

namespace latchkey::bench {
namespace {

constexpr char kReady[] = "latchkey ready on ";
constexpr char kEchoReady[] = "echo on ";
constexpr int kChannels = 2;
const absl::Duration kPatience = absl::Minutes(2);

std::string LineThatStartsWith(testing::ChildProcess& process, const std::string& prefix) {
  const std::optional<std::string> line = process.ReadLineStartingWith(prefix, kPatience);
  if (!line.has_value()) {
    const std::string log = process.error();
    std::fprintf(stderr, "bench: no \"%s\"; the log ends with:\n%s\n", prefix.c_str(),
                 log.substr(log.size() - std::min<size_t>(log.size(), 2000)).c_str());
    std::exit(1);
  }
  return line->substr(prefix.size());
}

std::string FirstLineOf(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  if (!std::getline(file, line)) {
    std::fprintf(stderr, "bench: %s can't be read\n", path.c_str());
    std::exit(1);
  }
  return line;
}

}  // namespace

Servers::Servers(const std::string& latchkeyd, const std::string& program, const std::string& directory)
    : program_(latchkeyd),
      directory_(directory),
      callback_echo_(StartEcho(program, "--callback-echo-server")),
      queue_echo_(StartEcho(program, "--queue-echo-server")) {
  StartLatchkeyd();
  verifier_key_ = FirstLineOf(directory_ + "/verifier.key");
  owner_key_ = FirstLineOf(directory_ + "/acme.key");
}

Servers::~Servers() {
  StopLatchkeyd();
  for (Echo* const echo : {&callback_echo_, &queue_echo_}) {
    echo->channels.clear();
    echo->process->Signal(SIGTERM);
    echo->process->WaitFor(absl::Seconds(10));
  }
}

Servers::Echo Servers::StartEcho(const std::string& program, const std::string& flag) {
  Echo echo;
  echo.process = std::make_unique<testing::ChildProcess>(testing::ChildProcess::Options{.arguments = {program, flag}});
  echo.channels = Connect(absl::StrCat("127.0.0.1:", LineThatStartsWith(*echo.process, kEchoReady)), kChannels);
  return echo;
}

const Channels& Servers::channels(Which which) const {
  if (which == Which::kLatchkeyd) return channels_;
  return which == Which::kCallbackEcho ? callback_echo_.channels : queue_echo_.channels;
}

pid_t Servers::pid(Which which) const {
  if (which == Which::kLatchkeyd) return latchkeyd_->pid();
  return which == Which::kCallbackEcho ? callback_echo_.process->pid() : queue_echo_.process->pid();
}

void Servers::RestartLatchkeyd() {
  StopLatchkeyd();
  StartLatchkeyd();
}

void Servers::StartLatchkeyd() {
  latchkeyd_ = std::make_unique<testing::ChildProcess>(testing::ChildProcess::Options{
      .arguments = {program_, "dev", "--data-dir", directory_, "--listen", "127.0.0.1:0", "--proofs", "memory"}});
  channels_ = Connect(LineThatStartsWith(*latchkeyd_, kReady), kChannels);
}

void Servers::StopLatchkeyd() {
  channels_.clear();
  latchkeyd_->Signal(SIGTERM);
  if (latchkeyd_->WaitFor(absl::Seconds(30)) != 0) std::fprintf(stderr, "bench: latchkeyd did not end with 0\n");
}

}  // namespace latchkey::bench
