// An asynchronous standby that never got the last changes is promoted under the servers. What the old primary had
// acknowledged and not passed on is gone; the servers must see that, load the view anew, and keep the bound for
// everything that is revoked from then on.
#include <gtest/gtest.h>
#include <signal.h>

#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "server/storage/postgres/postgres_key_store.h"
#include "tests/faults/cluster.h"
#include "tests/faults/history.h"
#include "tests/support/postgres_environment.h"
#include "tests/support/postgres_standby.h"
#include "tests/support/server_fixture.h"

namespace latchkey::faults {
namespace {

using ::latchkey::testing::Eventually;
using ::latchkey::testing::PostgresStandby;
using ::latchkey::testing::TcpProxy;

constexpr absl::Duration kPatience = absl::Seconds(30);
constexpr int kServers = 2;

class Failover : public ::testing::Test {
 protected:
  void SetUp() override {
    const std::string data = directory_.Child("primary");
    primary_ = testing::StartPostgres(data);
    PostgresStandby::LetStandbysIn(data);
    ASSERT_TRUE(primary_->Restart().ok());
    cluster_ = std::make_unique<Cluster>(Cluster::Options{
        .database = primary_->ConnectionString(), .servers = kServers, .clients = {{0}, {1}, {0, 1}, {1, 0}}});
    replication_ = std::make_unique<TcpProxy>(testing::SocketOf(primary_->ConnectionString()));
    absl::StatusOr<std::unique_ptr<PostgresStandby>> standby =
        PostgresStandby::Start(primary_->ConnectionString(), replication_->port());
    ASSERT_TRUE(standby.ok()) << standby.status();
    standby_ = *std::move(standby);
  }

  // Keys that every client has in its cache.
  std::vector<size_t> Create(int count) {
    std::vector<size_t> keys;
    for (int i = 0; i < count; ++i) keys.push_back(cluster_->Create().value());
    EXPECT_TRUE(cluster_->WaitUntilAllAgree(cluster_->Now()));
    return keys;
  }
  void Revoke(const std::vector<size_t>& keys) {
    for (const size_t key : keys) cluster_->Revoke(key);
  }

  // The primary dies and the standby takes its place, without what came after the link between them was cut.
  void FailOver() {
    primary_->Signal(SIGKILL);
    primary_.reset();
    standby_->Promote();
  }
  void LeadToStandby(int server) {
    cluster_->database_link(server).SetTarget(testing::SocketOf(standby_->ConnectionString()));
    cluster_->database_link(server).Reset();
  }
  // What the log's pages say of the history that a database is in.
  static core::HistoryId HistoryOf(const std::string& database) {
    const auto page = storage::PostgresKeyStore::Create({.connection_string = database})->ReadLog(0, 2);
    EXPECT_TRUE(page.ok()) << page.status();
    return page.ok() ? page->history : core::kNoHistory;
  }
  bool NoticesRewrite(int server) {
    return Eventually(kPatience, [&] {
      return absl::StrContains(cluster_->server(server).Log(), "the database's history was rewritten");
    });
  }
  // How often clients had to drop what they remembered: streams that came up without resuming.
  int64_t FreshStreams() const {
    int64_t count = 0;
    for (const auto& client : cluster_->clients()) {
      const VerifierStats stats = client->Stats();
      count += stats.watch_connects - stats.watch_resumes;
    }
    return count;
  }

  const testing::TempDirectory directory_;
  std::unique_ptr<app::EmbeddedPostgres> primary_;
  std::unique_ptr<TcpProxy> replication_;
  std::unique_ptr<PostgresStandby> standby_;
  std::unique_ptr<Cluster> cluster_;
};

TEST_F(Failover, ThatLosesTheTailIsNoticedAndTheBoundHoldsAfterwards) {
  const std::vector<size_t> kept = Create(5), lost = Create(5), later = Create(5), early = Create(5);
  Revoke(early);
  ASSERT_TRUE(cluster_->WaitUntilAllAgree(cluster_->Now()));
  ASSERT_TRUE(standby_->WaitUntilItHasAllOf(primary_->ConnectionString()));

  replication_->Set(TcpProxy::Mode::kCut);
  Revoke(lost);
  const std::vector<size_t> ghosts = Create(5);
  ASSERT_TRUE(cluster_->WaitUntilAllAgree(cluster_->Now()));
  const int64_t fresh_streams = FreshStreams();
  const core::HistoryId history = HistoryOf(primary_->ConnectionString());

  FailOver();
  const core::BootTime promoted_at = cluster_->Now();
  for (int server = 0; server < kServers; ++server) LeadToStandby(server);
  EXPECT_NE(HistoryOf(standby_->ConnectionString()), history) << "a server whose rows survived would not notice";
  for (int server = 0; server < kServers; ++server) {
    EXPECT_TRUE(NoticesRewrite(server)) << "server " << server << ": " << cluster_->server(server).Log();
  }
  std::cout << absl::StreamFormat("the servers noticed the rewrite within %.0f ms of the promotion\n",
                                  absl::ToDoubleMilliseconds(cluster_->Now() - promoted_at));
  // That is what asynchronous failover means: an acknowledged revocation that went with the tail has not happened, and
  // neither has an acknowledged creation.
  for (const size_t key : lost) cluster_->keys()[key].revoked_at = core::BootTime::Never();
  const core::BootTime rewritten_at = cluster_->Now();
  for (const size_t key : ghosts) cluster_->keys()[key].revoked_at = rewritten_at;
  EXPECT_TRUE(cluster_->WaitUntilAllAgree(promoted_at));
  EXPECT_GE(FreshStreams() - fresh_streams, static_cast<int64_t>(cluster_->clients().size()))
      << "a client kept what it remembered of the other history";

  // What is revoked from now on is dead within the bound, whatever it was before.
  Revoke(lost);
  Revoke(later);
  const core::BootTime dead_at = cluster_->Now() + core::WithClockError(Cluster::kBound);
  EXPECT_TRUE(cluster_->WaitUntilAllAgree(dead_at));
  cluster_->Tally();
  for (const auto& client : cluster_->clients()) {
    for (const size_t key : kept) EXPECT_EQ(client->ToldOf(key).last, Told::Last::kAllowed);
  }
  EXPECT_EQ(FlawOfHistory(standby_->ConnectionString()), "");
}

TEST_F(Failover, IsNoticedByAServerThatComesWhenTheNewHistoryIsLongerThanTheOld) {
  const std::vector<size_t> keys = Create(10);
  ASSERT_TRUE(standby_->WaitUntilItHasAllOf(primary_->ConnectionString()));
  replication_->Set(TcpProxy::Mode::kCut);
  const std::vector<size_t> lost = {keys[0], keys[1]};
  Revoke(lost);
  ASSERT_TRUE(cluster_->WaitUntilAllAgree(cluster_->Now()));

  // Server 1 stays behind on the dead primary, with a lease and clients of its own.
  FailOver();
  LeadToStandby(0);
  cluster_->AdministerThrough({0});
  ASSERT_TRUE(NoticesRewrite(0)) << cluster_->server(0).Log();
  for (const size_t key : lost) cluster_->keys()[key].revoked_at = core::BootTime::Never();
  // Where the old history ended there are other rows now, and more of them.
  Revoke({keys[2], keys[3], keys[4], keys[5], keys[6]});
  const core::BootTime dead_at = cluster_->Now() + core::WithClockError(Cluster::kBound);
  ASSERT_TRUE(Eventually(kPatience, [&] { return cluster_->Now() > dead_at; }));

  LeadToStandby(1);
  EXPECT_TRUE(NoticesRewrite(1)) << cluster_->server(1).Log();
  EXPECT_TRUE(cluster_->WaitUntilAllAgree(cluster_->Now()));
  cluster_->Tally();
  EXPECT_EQ(FlawOfHistory(standby_->ConnectionString()), "");
}

}  // namespace
}  // namespace latchkey::faults
