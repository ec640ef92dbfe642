// Several servers on one database: starting together, and one request sent to two of them.
#include <gtest/gtest.h>

#include <barrier>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/storage/postgres/migrations.h"
#include "tests/faults/deployment.h"
#include "tests/faults/history.h"
#include "tests/support/postgres_environment.h"

namespace latchkey::faults {
namespace {

TEST(Start, OfFourServersOnAnEmptyDatabaseMakesTheSchemaOnce) {
  constexpr int kServers = 4;
  for (int round = 0; round < 3 && !HasFailure(); ++round) {
    Deployment deployment(testing::FreshDatabase());
    std::vector<std::unique_ptr<ServerProcess>> servers;
    for (int i = 0; i < kServers; ++i) servers.push_back(deployment.NewServer());
    for (const auto& server : servers) server->Start();
    for (const auto& server : servers) {
      EXPECT_TRUE(server->WaitUntilServing());
      EXPECT_EQ(server->Log(), "") << "the servers got in each other's way";
    }

    const std::string& database = deployment.database();
    EXPECT_EQ(testing::RunSql(database, "SELECT count(*) FROM schema_migrations"),
              std::to_string(storage::NewestSchemaVersion()));
    EXPECT_EQ(testing::RunSql(database, "SELECT count(*) FROM change_log WHERE rev = 0"), "1");
    EXPECT_EQ(testing::RunSql(database, "SELECT string_agg(id, ' ') FROM organizations"), "system");

    const std::string owner_string = deployment.Bootstrap();
    // Each server learns of the owner from the log, then all of them agree on a key that one of them made.
    std::vector<std::unique_ptr<Caller>> callers;
    for (const auto& server : servers) callers.push_back(std::make_unique<Caller>(server->channel(), owner_string));
    const auto known = [](const Reply& reply) { return reply.code != grpc::StatusCode::UNAUTHENTICATED; };
    for (const auto& caller : callers) {
      const absl::Time give_up = absl::Now() + absl::Seconds(30);
      v1::Key key;
      while (!known(caller->Get("organizations/acme/keys/none", &key)) && absl::Now() < give_up) {
        absl::SleepFor(absl::Milliseconds(20));
      }
    }
    const Reply made = Insist([&] { return callers[0]->CreateOrganization("acme"); });
    ASSERT_TRUE(made.ok()) << made;
    for (const auto& caller : callers) {
      const std::string key_string = MustCreate(*caller, "editor", "a key").key_string();
      EXPECT_EQ(caller->Verify({key_string}), std::vector<v1::Decision>{v1::DECISION_ALLOWED});
    }
    EXPECT_EQ(FlawOfHistory(database), "");
  }
}

TEST(RequestId, SentBySixteenThreadsThroughTwoServersMakesOneKey) {
  constexpr int kThreads = 16;
  OneServer one(testing::FreshDatabase());
  const std::unique_ptr<ServerProcess> second = one.deployment.NewServer();
  second->Start();
  ASSERT_TRUE(second->WaitUntilServing());
  const Caller elsewhere(second->channel(), one.owner_string);
  for (int round = 0; round < 20 && !HasFailure(); ++round) {
    const std::string request_id = RequestId(round, 0, 0);
    std::vector<Reply> replies(kThreads);
    std::vector<v1::CreateKeyResponse> created(kThreads);
    std::barrier start(kThreads);
    std::vector<std::thread> threads;
    for (int i = 0; i < kThreads; ++i) {
      threads.emplace_back([&, i] {
        const Caller& caller = i % 2 == 0 ? *one.owner : elsewhere;
        start.arrive_and_wait();
        replies[i] = WhileBusy([&] { return caller.Create("editor", request_id, request_id, &created[i]); });
      });
    }
    for (std::thread& thread : threads) thread.join();
    std::set<std::string> names;
    int ok = 0;
    for (int i = 0; i < kThreads; ++i) {
      if (replies[i].ok()) {
        ++ok;
        names.insert(created[i].key().name());
      } else {
        EXPECT_EQ(replies[i].reason, "REQUEST_REPLAYED") << replies[i];
        names.insert(replies[i].name);
      }
    }
    EXPECT_EQ(ok, 1);
    EXPECT_EQ(names.size(), 1u);
    EXPECT_EQ(
        testing::RunSql(one.deployment.database(), absl::StrCat("SELECT count(*) FROM keys WHERE display_name = '",
                                                                request_id, "' AND deleted_at = 'infinity'")),
        "1");
  }
  EXPECT_EQ(FlawOfRequests(one.deployment.database()), "");
  EXPECT_EQ(FlawOfHistory(one.deployment.database()), "");
}

}  // namespace
}  // namespace latchkey::faults
