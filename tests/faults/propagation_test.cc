// Real servers, real clients with their caches, a real PostgreSQL, and everything between them broken in turn while
// keys are revoked: no client accepts a revoked key later than L·(1+4ρ) after the revocation returned.
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <iostream>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "tests/faults/cluster.h"
#include "tests/faults/history.h"
#include "tests/faults/load.h"
#include "tests/support/postgres_environment.h"
#include "tests/support/server_fixture.h"

namespace latchkey::faults {
namespace {

using Mode = ::latchkey::testing::TcpProxy::Mode;

constexpr int kServers = 3;
constexpr int kLiveKeys = 150;
constexpr int kLongRounds = 5;
// A link that is away for longer than L, so that leases end.
constexpr absl::Duration kOutage = absl::Milliseconds(2400);
constexpr absl::Duration kBefore = absl::Milliseconds(250);
constexpr absl::Duration kAfter = absl::Milliseconds(250);

// LATCHKEY_FAULTS=long: every fault five times on servers drawn by lot, in random order.
bool IsLong() {
  const char* const form = std::getenv("LATCHKEY_FAULTS");
  return form != nullptr && std::string(form) == "long";
}

// LATCHKEY_FAULTS_SEED repeats a long run.
unsigned Seed() {
  unsigned seed = 20235;
  if (IsLong()) seed = std::random_device()();
  if (const char* const given = std::getenv("LATCHKEY_FAULTS_SEED")) {
    EXPECT_TRUE(absl::SimpleAtoi(given, &seed)) << "LATCHKEY_FAULTS_SEED";
  }
  return seed;
}

struct Fault {
  std::string name;
  absl::Duration length;
  // On this server, or what leads to it; nullptr: nothing breaks.
  std::function<void(int server)> begin;
  std::function<void(int server)> end;
  // The administrator keeps away from the server.
  bool hits_administrator = true;
};

class Propagation : public ::testing::Test {
 protected:
  void StartCluster(std::vector<std::string> server_flags) {
    postgres_ = testing::StartPostgres(directory_.Child("postgres"));
    // Three clients know one server each, the others two.
    cluster_ =
        std::make_unique<Cluster>(Cluster::Options{.database = postgres_->ConnectionString(),
                                                   .servers = kServers,
                                                   .clients = {{0}, {1}, {2}, {0, 1}, {1, 2}, {2, 0}, {0, 1}, {1, 2}},
                                                   .server_flags = std::move(server_flags)});
    random_.seed(seed_);
    std::cout << absl::StreamFormat(
        "L = %s, %d servers, %d clients, %d live keys, seed %u; milliseconds from the revocation's sending until a "
        "client no longer accepts, and the latest acceptance after the revocation had returned\n"
        "%-28s %8s %8s %8s %8s %8s %12s %10s %12s\n",
        absl::FormatDuration(Cluster::kBound), kServers, cluster_->clients().size(), kLiveKeys, seed_, "fault",
        "revoked", "pairs", "p50", "p99", "max", "last accept", "undecided", "agree after");
  }

  Fault None() { return {"none", absl::Milliseconds(2500), nullptr, nullptr, false}; }
  Fault Database(const std::string& name, Mode mode) {
    return {"server-database " + name, kOutage, [this, mode](int server) { cluster_->database_link(server).Set(mode); },
            [this](int server) { cluster_->database_link(server).Set(Mode::kPass); }};
  }
  Fault Clients(const std::string& name, Mode mode) {
    const auto set = [this](int server, Mode wanted) {
      for (testing::TcpProxy* const link : cluster_->client_links(server)) link->Set(wanted);
    };
    return {"clients-server " + name, kOutage, [set, mode](int server) { set(server, mode); },
            [set](int server) { set(server, Mode::kPass); }, false};
  }
  // Everywhere but on the administrator's way.
  Fault Latency() {
    const auto set = [this](int fast, absl::Duration latency) {
      for (int server = 0; server < kServers; ++server) {
        for (testing::TcpProxy* const link : cluster_->client_links(server)) link->SetLatency(latency);
        if (server != fast) cluster_->database_link(server).SetLatency(latency);
      }
    };
    return {"200 ms on every link", kOutage,
            [this, set](int server) {
              cluster_->AdministerThrough({server});
              set(server, absl::Milliseconds(200));
            },
            [set](int server) { set(server, absl::ZeroDuration()); }};
  }
  Fault Stop() {
    return {"server stopped for 7 s", absl::Seconds(7),
            [this](int server) { cluster_->server(server).Signal(SIGSTOP); },
            [this](int server) { cluster_->server(server).Signal(SIGCONT); }};
  }
  Fault Kill() {
    return {"server killed, restarted", absl::Milliseconds(1000),
            [this](int server) { cluster_->server(server).Kill(); },
            [this](int server) {
              cluster_->server(server).Start();
              EXPECT_TRUE(cluster_->server(server).WaitUntilServing());
            }};
  }
  Fault RestartPostgres() {
    return {"PostgreSQL restarted", absl::Milliseconds(1500),
            [this](int) {
              postgres_->Signal(SIGQUIT);
              absl::SleepFor(absl::Milliseconds(300));
              const absl::Status restarted = postgres_->Restart();
              EXPECT_TRUE(restarted.ok()) << restarted;
            },
            [](int) {}, false};
  }
  std::vector<Fault> Every() {
    return {None(),
            Database("cut", Mode::kCut),
            Database("stalled", Mode::kStall),
            Database("stalled one way", Mode::kStallToTarget),
            Database("stalled other way", Mode::kStallFromTarget),
            Clients("cut", Mode::kCut),
            Clients("stalled", Mode::kStall),
            Clients("stalled one way", Mode::kStallToTarget),
            Clients("stalled other way", Mode::kStallFromTarget),
            Latency(),
            Stop(),
            Kill(),
            RestartPostgres()};
  }

  // `faults` once in this order; in the long form five times in random order.
  void Run(std::vector<Fault> faults) {
    const int rounds = IsLong() ? kLongRounds : 1;
    for (int round = 0; round < rounds; ++round) {
      if (IsLong()) std::shuffle(faults.begin(), faults.end(), random_);
      for (const Fault& fault : faults) {
        Run(fault);
        if (HasFailure()) return;
      }
    }
    // What was revoked last must be dead when the bound is over, too.
    const core::BootTime end = cluster_->Now() + core::WithClockError(Cluster::kBound);
    cluster_->Churn(core::WithClockError(Cluster::kBound), kLiveKeys, absl::Milliseconds(100));
    EXPECT_TRUE(cluster_->WaitUntilAllAgree(end));
    cluster_->Tally();
    EXPECT_EQ(FlawOfHistory(postgres_->ConnectionString()), "");
  }

  void Run(const Fault& fault) {
    SCOPED_TRACE(fault.name);
    const int victim = Between(random_, 0, kServers - 1);
    SCOPED_TRACE(victim);
    std::set<int> others;
    for (int server = 0; server < kServers; ++server) {
      if (!fault.hits_administrator || server != victim) others.insert(server);
    }
    if (one_administrator_) others = {(victim + 1) % kServers};
    cluster_->AdministerThrough(others);
    cluster_->Churn(kBefore, kLiveKeys);
    if (fault.begin) fault.begin(victim);
    cluster_->Churn(fault.length, kLiveKeys);
    if (fault.end) fault.end(victim);
    const core::BootTime lifted_at = cluster_->Now();
    cluster_->AdministerThrough(others);
    cluster_->Churn(kAfter, kLiveKeys);
    cluster_->WaitUntilAllAgree(lifted_at);
    const absl::Duration agreed_after = cluster_->Now() - lifted_at;
    Report(fault.name, cluster_->Tally(), agreed_after);
  }

  void Report(const std::string& name, const Cluster::Summary& summary, absl::Duration agreed_after) {
    const auto ms = [](absl::Duration duration) { return absl::ToDoubleMilliseconds(duration); };
    std::cout << absl::StreamFormat("%-28s %8d %8d %8.1f %8.1f %8.1f %12.1f %10d %12.0f\n", name, summary.revoked,
                                    summary.pairs, ms(Percentile(summary.over, 0.5)),
                                    ms(Percentile(summary.over, 0.99)), ms(Percentile(summary.over, 1)),
                                    ms(summary.last_accept), summary.undecided, ms(agreed_after))
              << std::flush;
    // It can't hold for want of anything to see.
    EXPECT_GE(summary.revoked, 5);
    EXPECT_GE(summary.pairs, 4 * summary.revoked) << "too few clients had the keys in their caches";
  }

  const unsigned seed_ = Seed();
  Random random_;
  bool one_administrator_ = false;
  const testing::TempDirectory directory_;
  std::unique_ptr<app::EmbeddedPostgres> postgres_;
  std::unique_ptr<Cluster> cluster_;
};

TEST_F(Propagation, NoRevokedKeyIsAcceptedPastTheBoundWhateverBreaks) {
  StartCluster({});
  Run(Every());
}

TEST(LateAnswer, ThatWasHeldUpUntilItsKeyWasDeadIsNotBelieved) {
  constexpr int kKeys = 20;
  Cluster cluster({.database = testing::FreshDatabase(), .servers = 1, .clients = {{0}, {0}}});
  ASSERT_TRUE(cluster.Create().has_value());
  ASSERT_TRUE(cluster.WaitUntilAllAgree(cluster.Now()));
  const auto repeated = [&cluster] {
    int64_t count = 0;
    for (const auto& client : cluster.clients()) count += client->Stats().retries;
    return count;
  };
  const auto stall = [&cluster](Mode mode) {
    for (testing::TcpProxy* const link : cluster.client_links(0)) link->Set(mode);
  };
  // A question that the stream keeps too long is asked in a call of its own; its connection must be there already.
  stall(Mode::kStallFromTarget);
  ASSERT_TRUE(cluster.Create().has_value());
  for (const auto& client : cluster.clients()) {
    ASSERT_TRUE(testing::Eventually(absl::Seconds(30), [&] { return client->Stats().fallbacks > 0; }));
  }
  stall(Mode::kPass);
  ASSERT_TRUE(cluster.WaitUntilAllAgree(cluster.Now()));

  const int64_t repeated_before = repeated();
  // The questions arrive, and the answers are ALLOWED; they stay on the way.
  stall(Mode::kStallFromTarget);
  std::vector<size_t> keys;
  for (int i = 0; i < kKeys; ++i) keys.push_back(cluster.Create().value());
  absl::SleepFor(absl::Milliseconds(500));
  for (const size_t key : keys) cluster.Revoke(key);
  absl::SleepFor(core::WithClockError(Cluster::kBound) + absl::Milliseconds(500));
  const core::BootTime lifted_at = cluster.Now();
  stall(Mode::kPass);
  EXPECT_TRUE(cluster.WaitUntilAllAgree(lifted_at));
  cluster.Tally();
  for (const auto& client : cluster.clients()) {
    for (const size_t key : keys) EXPECT_LT(client->ToldOf(key).accept_came_at.nanoseconds(), lifted_at.nanoseconds());
  }
  EXPECT_GT(repeated(), repeated_before) << "no answer came late";
}

TEST_F(Propagation, NeedsNoDoorbell) {
  StartCluster({"--doorbell", "none"});
  // Each commit brings its own server up to date, so that an administrator that goes round would be a doorbell.
  one_administrator_ = true;
  Run(IsLong() ? Every() : std::vector<Fault>{None(), Database("cut", Mode::kCut)});
}

}  // namespace
}  // namespace latchkey::faults
