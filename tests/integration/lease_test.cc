// The lease and what goes with it between real servers: doorbells, waiting for a revocation, L in the database, the
// state directory, proofs over a restart.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <cstdio>
#include <mutex>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "server/storage/postgres/notify_doorbell.h"
#include "tests/support/postgres_environment.h"
#include "tests/support/server_fixture.h"
#include "tests/support/status_matchers.h"

namespace latchkey::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

const absl::Duration kPatience = absl::Seconds(30);

std::string KidOf(const v1::CreateKeyResponse& made) {
  return made.key().name().substr(made.key().name().rfind('/') + 1);
}

std::vector<std::string> Cheap(std::vector<std::string> more = {}) {
  more.insert(more.begin(), {"--hash-profile", "random-key"});
  return more;
}

std::string Count(const std::string& database, const std::string& what) {
  return RunSql(database, "SELECT count(*) FROM " + what);
}

absl::StatusOr<v1::Key> DeleteAndWait(const RpcClient& client, const std::string& name, v1::RevocationWait wait) {
  v1::DeleteKeyRequest request;
  request.set_name(name);
  request.set_wait(wait);
  return client.Call(&v1::KeyAdmin::Stub::DeleteKey, request);
}

absl::Duration LeaseRemaining(const RpcClient& client, const std::string& key_string) {
  const absl::StatusOr<v1::VerifyResponse> answer = client.Verify(key_string);
  if (!answer.ok()) return absl::ZeroDuration();
  return absl::Seconds(answer->lease_remaining().seconds()) + absl::Nanoseconds(answer->lease_remaining().nanos());
}

class Doorbells : public ::testing::TestWithParam<const char*> {};

TEST_P(Doorbells, ARevocationOnOneServerReachesTheOther) {
  const Installation installation(FreshDatabase());
  RunningServer one(installation.Serve(Cheap({"--doorbell", GetParam()})));
  RunningServer two(installation.Serve(Cheap({"--doorbell", GetParam()})));
  ASSERT_TRUE(one.WaitUntilServing());
  ASSERT_TRUE(two.WaitUntilServing());
  const RpcClient on_one = one.As(installation.system_key());
  const RpcClient on_two = two.As(installation.system_key());
  std::vector<absl::Duration> took;
  const int rounds = std::string(GetParam()) == "none" ? 3 : 9;  // Each takes up to two renewals there.
  for (int i = 0; i < rounds; ++i) {
    const v1::CreateKeyResponse made = on_one.MustCreate("system", "short life", "verifier");
    ASSERT_TRUE(Eventually(kPatience, [&] { return on_two.Decide(made.key_string()) == v1::DECISION_ALLOWED; }));
    ASSERT_THAT(on_one.Delete(made.key().name()), IsOk());
    const absl::Time deleted_at = absl::Now();
    EXPECT_EQ(on_one.Decide(made.key_string()), v1::DECISION_REVOKED);
    v1::Decision decision = v1::DECISION_ALLOWED;
    while (decision == v1::DECISION_ALLOWED && absl::Now() - deleted_at < kPatience) {
      decision = on_two.Decide(made.key_string());
    }
    EXPECT_EQ(decision, v1::DECISION_REVOKED);
    took.push_back(absl::Now() - deleted_at);
  }
  std::sort(took.begin(), took.end());
  std::printf("doorbell %s: refused by the other server after %.1f ms (median), %.1f ms (most)\n", GetParam(),
              absl::ToDoubleMilliseconds(took[took.size() / 2]), absl::ToDoubleMilliseconds(took.back()));
}

TEST_P(Doorbells, WhoWaitsForAllServersIsAnsweredOnceAllRefuseTheKey) {
  const std::string database = FreshDatabase();
  const Installation installation(database);
  RunningServer one(installation.Serve(Cheap({"--doorbell", GetParam()})));
  RunningServer two(installation.Serve(Cheap({"--doorbell", GetParam()})));
  ASSERT_TRUE(one.WaitUntilServing());
  ASSERT_TRUE(two.WaitUntilServing());
  RpcClient on_one = one.As(installation.system_key());
  on_one.SetTimeout(kPatience);
  const RpcClient on_two = two.As(installation.system_key());
  ASSERT_EQ(Count(database, "replica_lease"), "2");
  for (const v1::RevocationWait wait : {v1::REVOCATION_WAIT_SERVERS, v1::REVOCATION_WAIT_ALL}) {
    const v1::CreateKeyResponse made = on_one.MustCreate("system", "short life", "verifier");
    ASSERT_TRUE(Eventually(kPatience, [&] { return on_two.Decide(made.key_string()) == v1::DECISION_ALLOWED; }));
    const absl::Time asked_at = absl::Now();
    ASSERT_THAT(DeleteAndWait(on_one, made.key().name(), wait), IsOk());
    std::printf("doorbell %s: %s took %.0f ms\n", GetParam(), v1::RevocationWait_Name(wait).c_str(),
                absl::ToDoubleMilliseconds(absl::Now() - asked_at));
    EXPECT_EQ(on_two.Decide(made.key_string()), v1::DECISION_REVOKED) << "at once";
  }
}

INSTANTIATE_TEST_SUITE_P(All, Doorbells, ::testing::Values("none", "notify", "peer"),
                         [](const auto& kind) { return std::string(kind.param); });

TEST(Lease, AServerThatIsKilledHoldsUpAWaitOnlyUntilItsLeaseIsOver) {
  const Installation installation(FreshDatabase());
  RunningServer one(installation.Serve(Cheap()));
  ASSERT_TRUE(one.WaitUntilServing());
  RunningServer two(installation.Serve(Cheap()));
  ASSERT_TRUE(two.WaitUntilServing());
  RpcClient on_one = one.As(installation.system_key());
  on_one.SetTimeout(kPatience);
  const v1::CreateKeyResponse made = on_one.MustCreate("system", "short life", "verifier");
  two.Kill();
  ASSERT_THAT(DeleteAndWait(on_one, made.key().name(), v1::REVOCATION_WAIT_SERVERS), IsOk());
}

TEST(Lease, AReplicaRowThatIsDeletedByHandIsMadeAgain) {
  const std::string database = FreshDatabase();
  const Installation installation(database);
  RunningServer server(installation.Serve(Cheap()));
  ASSERT_TRUE(server.WaitUntilServing());
  const RpcClient system = server.As(installation.system_key());
  RunSql(database, "DELETE FROM replica_lease");
  EXPECT_TRUE(Eventually(kPatience, [&] { return Count(database, "replica_lease") == "1"; }));
  EXPECT_TRUE(Eventually(kPatience, [&] { return system.Verify(installation.system_key()).ok(); }));
  const std::string beat = RunSql(database, "SELECT beat FROM replica_lease");
  EXPECT_TRUE(Eventually(kPatience, [&] { return RunSql(database, "SELECT beat FROM replica_lease") != beat; }));
}

TEST(Lease, AServerThatIsStoppedLeavesTheReplicasAndWritesWhatItCounted) {
  const std::string database = FreshDatabase();
  const Installation installation(database);
  RunningServer server(installation.Serve(Cheap()));
  ASSERT_TRUE(server.WaitUntilServing());
  const RpcClient system = server.As(installation.system_key());
  const v1::CreateKeyResponse made = system.MustCreate("system", "used", "verifier");
  ASSERT_EQ(system.Decide(made.key_string()), v1::DECISION_ALLOWED);
  EXPECT_EQ(Count(database, "replica_lease"), "1");
  EXPECT_EQ(server.Terminate(), 0);
  EXPECT_EQ(Count(database, "replica_lease"), "0");
  EXPECT_EQ(Count(database, "key_use WHERE kid = '" + KidOf(made) + "'"), "1");
}

TEST(Lease, AStoppedServersClientsAreWaitedForUntilTheirLeaseIsOver) {
  const std::string database = FreshDatabase();
  const Installation installation(database);
  RunningServer one(installation.Serve(Cheap({"--drain-seconds", "0.5"})));
  ASSERT_TRUE(one.WaitUntilServing());
  const std::string one_id = RunSql(database, "SELECT replica FROM replica_lease");
  RunningServer two(installation.Serve(Cheap()));
  ASSERT_TRUE(two.WaitUntilServing());
  RpcClient on_two = two.As(installation.system_key());
  on_two.SetTimeout(kPatience);
  const v1::CreateKeyResponse made = on_two.MustCreate("system", "cached", "verifier");

  grpc::ClientContext context;
  context.AddMetadata("authorization", "Bearer " + installation.system_key());
  const auto stub = v1::KeyVerify::NewStub(one.channel());
  const auto stream = stub->Watch(&context);
  v1::WatchRequest request;
  request.mutable_subscribe();
  ASSERT_TRUE(stream->Write(request));
  v1::WatchResponse response;
  ASSERT_TRUE(stream->Read(&response));
  ASSERT_TRUE(response.has_hello());
  request.mutable_ping()->set_seq(1);
  request.mutable_ping()->set_acknowledged_revision(response.hello().sub_revision().token());
  const absl::Time sent_at = absl::Now();
  ASSERT_TRUE(stream->Write(request));
  do {
    ASSERT_TRUE(stream->Read(&response));
  } while (!response.has_pong());
  const absl::Time lent_until = sent_at + absl::Seconds(response.pong().remaining().seconds()) +
                                absl::Nanoseconds(response.pong().remaining().nanos());
  // It has lent time, and ends: the client believes what it has cached, and hears nothing more.
  one.process().Signal(SIGTERM);
  while (stream->Read(&response)) continue;
  stream->Finish().ok();
  ASSERT_EQ(one.process().WaitFor(kPatience), 0);
  ASSERT_EQ(Count(database, "replica_lease WHERE replica = '" + one_id + "'"), "1");
  ASSERT_THAT(DeleteAndWait(on_two, made.key().name(), v1::REVOCATION_WAIT_ALL), IsOk());
  EXPECT_GE(absl::Now(), lent_until) << "the client may still have believed what it had cached";
  EXPECT_EQ(on_two.Decide(made.key_string()), v1::DECISION_REVOKED);
}

TEST(Lease, RunningServersTakeOverABoundThatIsSetInTheDatabase) {
  const std::string database = FreshDatabase();
  const Installation installation(database);
  RunningServer server(installation.Serve(Cheap()));
  ASSERT_TRUE(server.WaitUntilServing());
  const RpcClient system = server.As(installation.system_key());
  const std::string key = installation.system_key();
  EXPECT_LE(LeaseRemaining(system, key), absl::Seconds(5));
  const auto set = [&](const char* seconds) {
    return RunLatchkeyd({"set-bound", "--database-url-file", installation.database_url_file(), "--seconds", seconds});
  };

  const ChildProcess::Result raised = set("40");
  EXPECT_EQ(raised.exit_code, 0) << raised.error;
  EXPECT_THAT(raised.output, HasSubstr("was 5 s and is 40 s"));
  EXPECT_THAT(raised.output, Not(HasSubstr("old bound")));
  EXPECT_TRUE(Eventually(kPatience, [&] { return LeaseRemaining(system, key) > absl::Seconds(30); }));

  const ChildProcess::Result lowered = set("2");
  EXPECT_EQ(lowered.exit_code, 0) << lowered.error;
  EXPECT_THAT(lowered.output, HasSubstr("was 40 s and is 2 s"));
  EXPECT_THAT(lowered.output, HasSubstr("40.16s"));
  EXPECT_EQ(RunSql(database, "SELECT previous_bound_us FROM settings"), "40000000");
  const std::string head = RunSql(database, "SELECT rev FROM log_head");
  EXPECT_EQ(set("2").exit_code, 0);
  EXPECT_EQ(RunSql(database, "SELECT rev FROM log_head"), head) << "nothing to change, no row";
  for (const char* bad : {"1", "61", "x"}) EXPECT_EQ(set(bad).exit_code, 64) << bad;

  const ChildProcess::Result replicas =
      RunLatchkeyd({"replicas", "--database-url-file", installation.database_url_file()});
  EXPECT_EQ(replicas.exit_code, 0) << replicas.error;
  EXPECT_THAT(replicas.output, HasSubstr(RunSql(database, "SELECT replica FROM replica_lease")));
}

TEST(StateDirectory, AServerThatKnowsAnotherHistoryServesOnlyAfterAcceptHistory) {
  const Installation installation(FreshDatabase());
  const std::string state = installation.directory().Child("state");
  const std::vector<std::string> flags = Cheap({"--state-dir", state});
  {
    RunningServer server(installation.Serve(flags));
    ASSERT_TRUE(server.WaitUntilServing());
    const RpcClient system = server.As(installation.system_key());
    for (int i = 0; i < 3; ++i) system.MustCreate("system", "a key", "verifier");
    EXPECT_EQ(server.Terminate(), 0);
  }
  const std::string position = ReadFile(state + "/position");
  {
    RunningServer server(installation.Serve(flags));
    EXPECT_TRUE(server.WaitUntilServing()) << "the same history is served again";
  }

  // The database is replaced by an empty one.
  installation.directory().WriteFile("database.url", FreshDatabase() + "\n");
  auto serve = installation.Serve(flags);
  serve.insert(serve.end(), {"--listen", "127.0.0.1:0"});
  const ChildProcess::Result refused = RunLatchkeyd(serve);
  EXPECT_EQ(refused.exit_code, 78) << refused.error;
  EXPECT_THAT(refused.error, HasSubstr("latchkeyd: the database has another history"));
  EXPECT_THAT(refused.error, HasSubstr("latchkeyd accept-history --state-dir " + state));
  EXPECT_EQ(ReadFile(state + "/position"), position) << "what was followed is kept until an operator says otherwise";

  const std::vector<std::string> accept = {"accept-history", "--state-dir", state, "--database-url-file",
                                           installation.database_url_file()};
  const ChildProcess::Result accepted = RunLatchkeyd(accept);
  EXPECT_EQ(accepted.exit_code, 0) << accepted.error;
  EXPECT_THAT(accepted.output, HasSubstr("the server followed: revision "));
  EXPECT_THAT(accepted.output, HasSubstr("no such revision"));
  EXPECT_THAT(accepted.output, HasSubstr("the database ends at:   revision 0, chain "));
  EXPECT_THAT(accepted.error, HasSubstr("history accepted"));
  {
    RunningServer server(installation.Serve(flags));
    EXPECT_TRUE(server.WaitUntilServing());
    EXPECT_EQ(server.Terminate(), 0);
  }

  installation.directory().WriteFile("state/position", "latchkey position 1\nrevision 0\nchain 00\n");
  const ChildProcess::Result damaged = RunLatchkeyd(serve);
  EXPECT_EQ(damaged.exit_code, 78) << damaged.error;
  EXPECT_THAT(damaged.error, HasSubstr(state + "/position is damaged"));
  EXPECT_EQ(RunLatchkeyd(accept).exit_code, 0);
  RunningServer server(installation.Serve(flags));
  EXPECT_TRUE(server.WaitUntilServing());
}

TEST(Proofs, AreThereAfterARestartIfSharedAndOnlyThen) {
  const std::string database = FreshDatabase();
  const Installation installation(database);
  std::vector<v1::CreateKeyResponse> made;
  for (const char* proofs : {"shared", "memory"}) {
    RunningServer server(installation.Serve(Cheap({"--proofs", proofs})));
    ASSERT_TRUE(server.WaitUntilServing());
    const RpcClient system = server.As(installation.system_key());
    made.push_back(system.MustCreate("system", proofs, "verifier"));
    EXPECT_EQ(system.Decide(made.back().key_string()), v1::DECISION_ALLOWED);
    EXPECT_EQ(server.Terminate(), 0);
  }
  // Whoever needs Argon2 for them from now on finds that the secret is wrong.
  for (const v1::CreateKeyResponse& key : made) {
    RunSql(database,
           absl::StrCat("UPDATE secret_versions SET hash = (SELECT hash FROM secret_versions WHERE kid NOT IN ('",
                        KidOf(made[0]), "', '", KidOf(made[1]), "') LIMIT 1) WHERE kid = '", KidOf(key), "'"));
  }
  RunningServer server(installation.Serve(Cheap({"--proofs", "shared"})));
  ASSERT_TRUE(server.WaitUntilServing());
  const RpcClient system = server.As(installation.system_key());
  EXPECT_EQ(system.Decide(made[0].key_string()), v1::DECISION_ALLOWED);
  EXPECT_EQ(system.Decide(made[1].key_string()), v1::DECISION_NOT_FOUND);
}

// Collects what a doorbell hears.
class Ear {
 public:
  keys::Doorbell::Heard heard() {
    return [this](int64_t revision, bool waiting) {
      const std::lock_guard<std::mutex> lock(mutex_);
      rings_.emplace_back(revision, waiting);
    };
  }
  std::vector<std::pair<int64_t, bool>> rings() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return rings_;
  }

 private:
  mutable std::mutex mutex_;
  std::vector<std::pair<int64_t, bool>> rings_;
};

TEST(NotifyDoorbell, TheOthersHearItAndItDoesNotHearItselfAlsoAfterItsSessionWasEnded) {
  const std::string database = FreshDatabase();
  Ear ear_a, ear_b;
  storage::NotifyDoorbell a(database, ear_a.heard());
  storage::NotifyDoorbell b(database, ear_b.heard());
  ASSERT_TRUE(Eventually(kPatience, [&] { return a.listening() && b.listening(); }));
  a.Ring(7, false);
  ASSERT_TRUE(Eventually(kPatience, [&] { return !ear_b.rings().empty(); }));
  EXPECT_EQ(ear_b.rings().back(), std::make_pair(int64_t{7}, false));
  b.Ring(8, true);
  ASSERT_TRUE(Eventually(kPatience, [&] { return !ear_a.rings().empty(); }));
  EXPECT_EQ(ear_a.rings().front(), std::make_pair(int64_t{8}, true)) << "and not its own";

  RunSql(
      database,
      "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'latchkeyd doorbell' AND "
      "datname = current_database()");
  ASSERT_TRUE(Eventually(kPatience, [&] {
    a.Ring(9, false);
    return ear_b.rings().back().first == 9;
  }));
}

TEST(NotifyDoorbell, RingsWithoutADatabaseAreHarmless) {
  Ear ear;
  storage::NotifyDoorbell bell("host=/no/such/directory dbname=x", ear.heard());
  for (int i = 0; i < 1000; ++i) bell.Ring(i, true);
  EXPECT_TRUE(ear.rings().empty());
}

}  // namespace
}  // namespace latchkey::testing
