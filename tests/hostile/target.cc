#include "tests/hostile/target.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <thread>

#include "tests/support/postgres_environment.h"
#include "tests/support/rpc_client.h"

namespace latchkey::hostile {
namespace {

using Clock = std::chrono::steady_clock;

constexpr auto kPause = std::chrono::milliseconds(5);
constexpr int kCallsAStream = 20;

double MillisecondsSince(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

double Quantile(std::vector<double>& values, double q) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  return values[static_cast<size_t>(q * static_cast<double>(values.size() - 1))];
}

void Note(Figures& figures, const std::string& failure) {
  ++figures.calls;
  if (failure.empty()) return;
  ++figures.failed;
  if (figures.failure.empty()) figures.failure = failure;
}

// "" or why not.
std::string OpenStream(const std::shared_ptr<grpc::Channel>& channel, const std::string& caller,
                       const std::string& key) {
  grpc::ClientContext context;
  context.AddMetadata("authorization", "Bearer " + caller);
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(10));
  const auto stream = v1::KeyVerify::NewStub(channel)->StreamVerify(&context);
  v1::StreamVerifyRequest request;
  request.set_batch_id(1);
  request.add_requests()->set_key(key);
  v1::StreamVerifyResponse response;
  const bool answered = stream->Write(request) && stream->Read(&response);
  stream->WritesDone();
  const grpc::Status status = stream->Finish();
  if (!answered || !status.ok()) return "StreamVerify: " + status.error_message();
  return response.results(0).result().response().decision() == v1::DECISION_ALLOWED ? "" : "StreamVerify: denied";
}

void Print(const std::string& name, const Figures& figures) {
  std::printf("%-46s %8.2f %8.2f %10.1f %6d %6d %9.1f %7lld\n", name.c_str(), figures.p50_ms, figures.p99_ms,
              figures.slowest_open_ms, figures.calls, figures.failed, static_cast<double>(figures.rss_kib) / 1024,
              static_cast<long long>(figures.threads));
}

}  // namespace

absl::Duration AttackTime() {
  const char* const form = std::getenv("LATCHKEY_HOSTILE");
  return form != nullptr && std::string(form) == "long" ? absl::Seconds(20) : absl::Seconds(3);
}

Target::Target(std::vector<std::string> flags)
    : installation_(std::make_unique<testing::Installation>(testing::FreshDatabase())) {
  flags.insert(flags.begin(), {"--hash-profile", "random-key"});
  server_ = std::make_unique<testing::RunningServer>(installation_->Serve(std::move(flags)));
  EXPECT_TRUE(server_->WaitUntilServing());
  owner_ = installation_->system_key();
  const testing::RpcClient owner = server_->As(owner_);
  EXPECT_TRUE(owner.CreateOrganization("acme").ok());
  verifier_ = owner.MustCreate("system", "Verifier", "verifier").key_string();
  key_ = owner.MustCreate("acme", "Verified", "owner").key_string();
  // Proven from now on.
  EXPECT_EQ(server_->As(verifier_).Decide(key_), v1::DECISION_ALLOWED);
}

int64_t Target::ProcessFigure(const std::string& name) const {
  std::ifstream status("/proc/" + std::to_string(server_->process().pid()) + "/status");
  for (std::string word; status >> word;) {
    int64_t value = 0;
    if (word == name && status >> value) return value;
  }
  return 0;
}

Figures Target::Observe(absl::Duration how_long, const Attack& attack) {
  Moments moments;
  std::thread attacker;
  if (attack) {
    attacker = std::thread([&] {
      attack(moments);
      moments.begun = true;
    });
    testing::Eventually(absl::Seconds(30), [&] { return moments.begun.load(); });
  }
  Figures figures;
  std::vector<double> calls;
  const testing::RpcClient client = server_->As(verifier_);
  const auto end = Clock::now() + absl::ToChronoMilliseconds(how_long);
  for (int i = 0; Clock::now() < end; ++i) {
    const auto start = Clock::now();
    const absl::StatusOr<v1::VerifyResponse> verdict = client.Verify(key_);
    calls.push_back(MillisecondsSince(start));
    Note(figures, verdict.ok() ? "" : "Verify: " + std::string(verdict.status().message()));
    if (i % kCallsAStream == 0) {
      const auto opened = Clock::now();
      const bool anew = (i / kCallsAStream) % 2 == 1;
      Note(figures, OpenStream(anew ? testing::ChannelTo(address()) : server_->channel(), verifier_, key_));
      figures.slowest_open_ms = std::max(figures.slowest_open_ms, MillisecondsSince(opened));
      figures.rss_kib = std::max(figures.rss_kib, RssKib());
      figures.threads = std::max(figures.threads, Threads());
    }
    std::this_thread::sleep_for(kPause);
  }
  moments.over = true;
  if (attacker.joinable()) attacker.join();
  figures.p50_ms = Quantile(calls, 0.5);
  figures.p99_ms = Quantile(calls, 0.99);
  return figures;
}

Comparison Measure(const std::string& name, Target& target, const Target::Attack& attack) {
  const Figures quiet = target.Observe(AttackTime() / 2);
  const Figures under = target.Observe(AttackTime(), attack);
  std::printf("%-46s %8s %8s %10s %6s %6s %9s %7s\n", "", "p50 ms", "p99 ms", "open ms", "calls", "failed", "RSS MiB",
              "threads");
  Print("quiet", quiet);
  Print(name, under);
  std::fflush(stdout);
  return {quiet, under};
}

void ExpectUnharmed(const std::string& name, Target& target, const Target::Attack& attack, const Tolerance& tolerance) {
  ASSERT_TRUE(target.server().listens());
  const auto [quiet, under] = Measure(name, target, attack);
  EXPECT_EQ(quiet.failed, 0) << quiet.failure;
  EXPECT_EQ(under.failed, 0) << under.failure;
  EXPECT_LE(under.p99_ms, std::max(tolerance.p99_ms, 3 * quiet.p99_ms));
  EXPECT_LE(under.slowest_open_ms, std::max(tolerance.slowest_open_ms, 3 * quiet.slowest_open_ms));
  EXPECT_LE(under.rss_kib - quiet.rss_kib, tolerance.growth_kib);
  EXPECT_LE(under.threads, quiet.threads + 8);
}

}  // namespace latchkey::hostile
