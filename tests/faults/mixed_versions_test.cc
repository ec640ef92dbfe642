// Release 0's servers and today's in one cluster on release 0's database, with both libraries' clients, broken in turn
// while keys are revoked: a rolling upgrade, its way back, and its end.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <functional>
#include <iostream>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_format.h"
#include "tests/faults/cluster.h"
#include "tests/faults/history.h"
#include "tests/support/postgres_environment.h"

namespace latchkey::faults {
namespace {

using Mode = ::latchkey::testing::TcpProxy::Mode;
using ::latchkey::testing::ChildProcess;
using ::testing::HasSubstr;

constexpr int kLiveKeys = 60;
// Longer than L, so that leases end.
constexpr absl::Duration kOutage = absl::Milliseconds(2400);

std::string Today() { return testing::Program("server/latchkeyd"); }
std::string ReleaseZero() { return testing::Program("tests/release_0/build/server/latchkeyd"); }

class MixedVersions : public ::testing::Test {
 protected:
  // Servers of these programs, started one after the other; each kind of client knows each server and each pair.
  void Start(std::vector<std::string> programs) {
    database_ = testing::FreshDatabase();
    cluster_ = std::make_unique<Cluster>(Cluster::Options{
        .database = database_,
        .servers = 2,
        .clients = {{0}, {1}, {0, 1}, {0}, {1}, {1, 0}},
        .made_by = ReleaseZero(),
        .programs = std::move(programs),
        .release_zero_clients = {0, 1, 2},
    });
  }

  // Revokes all the while; the servers that `hit` does not name are the administrator's.
  void Run(const std::string& name, const std::set<int>& hit, absl::Duration length, const std::function<void()>& begin,
           const std::function<void()>& end) {
    if (HasFailure()) return;
    SCOPED_TRACE(name);
    std::set<int> others;
    for (int server = 0; server < cluster_->servers(); ++server) {
      if (!hit.contains(server)) others.insert(server);
    }
    cluster_->AdministerThrough(others);
    cluster_->Churn(absl::Milliseconds(250), kLiveKeys);
    begin();
    cluster_->Churn(length, kLiveKeys);
    end();
    const core::BootTime lifted_at = cluster_->Now();
    cluster_->AdministerThrough({0, 1});
    cluster_->Churn(absl::Milliseconds(250), kLiveKeys);
    cluster_->WaitUntilAllAgree(lifted_at);
    const Cluster::Summary summary = cluster_->Tally();
    std::cout << absl::StreamFormat("%-36s %4d revoked, %5d pairs, last accept %6.1f ms after its revocation\n", name,
                                    summary.revoked, summary.pairs, absl::ToDoubleMilliseconds(summary.last_accept))
              << std::flush;
    EXPECT_GE(summary.revoked, 5);
    EXPECT_GE(summary.pairs, 3 * summary.revoked) << "too few clients had the keys in their caches";
  }

  void RunFaults() {
    const auto nothing = [] {};
    Run("none", {}, absl::Seconds(1), nothing, nothing);
    for (const int victim : {0, 1}) {
      const std::string of = absl::StrFormat(" of server %d", victim);
      testing::TcpProxy& database = cluster_->database_link(victim);
      Run(
          "database stalled" + of, {victim}, kOutage, [&] { database.Set(Mode::kStall); },
          [&] { database.Set(Mode::kPass); });
      const auto clients = [&](Mode mode) {
        for (testing::TcpProxy* const link : cluster_->client_links(victim)) link->Set(mode);
      };
      Run(
          "clients cut" + of, {}, kOutage, [&] { clients(Mode::kCut); }, [&] { clients(Mode::kPass); });
    }
  }

  // Server `server` dies and comes back as `program`.
  void Replace(int server, const std::string& program) {
    Run(
        absl::StrFormat("server %d becomes %s", server, program == Today() ? "today's" : "release 0's"), {server},
        absl::Milliseconds(500), [&] { cluster_->server(server).Kill(); },
        [&] {
          cluster_->server(server).ReplaceBy(program);
          cluster_->server(server).Start();
          EXPECT_TRUE(cluster_->server(server).WaitUntilServing());
        });
  }

  std::string Level() { return testing::RunSql(database_, "SELECT level FROM settings"); }

  std::string database_;
  std::unique_ptr<Cluster> cluster_;
};

TEST_F(MixedVersions, AnUpgradeGoesServerByServerBackAndForthAndEndsWithFinish) {
  Start({ReleaseZero(), ReleaseZero()});
  Replace(1, Today());
  RunFaults();
  // Going back is starting the old one.
  Replace(1, ReleaseZero());
  Replace(1, Today());
  EXPECT_EQ(Level(), "2");
  const ChildProcess::Result refused = cluster_->deployment().FinishUpgrade(Today());
  EXPECT_EQ(refused.exit_code, 78) << refused.output;
  EXPECT_THAT(refused.error, HasSubstr("reads feature levels 1 to 2, not 3, and is running"));
  EXPECT_EQ(Level(), "2");

  Replace(0, Today());
  const ChildProcess::Result finished = cluster_->deployment().FinishUpgrade(Today());
  EXPECT_EQ(finished.exit_code, 0) << finished.error;
  EXPECT_THAT(finished.output, HasSubstr("was at feature level 2 and is at 3"));
  EXPECT_THAT(finished.output, HasSubstr("is dead; it is forgotten"));
  EXPECT_EQ(Level(), "3");
  Run(
      "all of today, finished", {}, absl::Seconds(1), [] {}, [] {});
  EXPECT_EQ(FlawOfHistory(database_), "");

  // From here on there is no way back.
  const std::unique_ptr<ServerProcess> old = cluster_->deployment().NewServer();
  old->ReplaceBy(ReleaseZero());
  old->Start();
  EXPECT_EQ(old->WaitForEnd(), 78);
  EXPECT_THAT(old->Log(), HasSubstr("use a newer latchkeyd"));
}

TEST_F(MixedVersions, TodaysServerFirstAndReleaseZerosBesideIt) {
  Start({Today(), ReleaseZero()});
  RunFaults();
  EXPECT_EQ(Level(), "2");
  EXPECT_EQ(FlawOfHistory(database_), "");
}

TEST_F(MixedVersions, AServerOfReleaseZeroThatWasThoughtDeadGetsNoLeaseAfterFinish) {
  Start({ReleaseZero(), Today()});
  ASSERT_TRUE(cluster_->Create().has_value());
  ASSERT_TRUE(cluster_->WaitUntilAllAgree(cluster_->Now()));
  cluster_->server(0).Signal(SIGSTOP);
  const ChildProcess::Result finished = cluster_->deployment().FinishUpgrade(Today());
  EXPECT_EQ(finished.exit_code, 0) << finished.error;
  cluster_->server(0).Signal(SIGCONT);
  // Its clients turn to the other one or to nobody; what is revoked is dead for all of them.
  cluster_->AdministerThrough({1});
  cluster_->Churn(core::WithClockError(Cluster::kBound) + absl::Seconds(1), 5, absl::Milliseconds(100));
  cluster_->Tally();
  EXPECT_EQ(testing::RunSql(database_, "SELECT count(*) FROM replica_lease WHERE newest_level < 3"), "0");
  for (const int client : {0, 3}) EXPECT_LE(cluster_->clients()[client]->Stats().lease_remaining, absl::ZeroDuration());
  cluster_->server(0).Kill();
}

}  // namespace
}  // namespace latchkey::faults
