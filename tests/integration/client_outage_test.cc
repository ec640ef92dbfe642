// The Verifier with its cache, and what is left of it when real servers go and come, or are more than one.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "tests/integration/caching_client.h"
#include "tests/support/tcp_proxy.h"

namespace latchkey::testing {
namespace {

// `latchkeyd dev` on a socket that stays the same.
class ServerOnSocket {
 public:
  void Start() {
    process_ = std::make_unique<ChildProcess>(
        ChildProcess::Options{.arguments = {Program("server/latchkeyd"), "dev", "--data-dir", directory_.Child("data"),
                                            "--hash-profile", "random-key", "--listen", target()}});
    ASSERT_TRUE(process_->ReadLineStartingWith("latchkey ready", kStartPatience).has_value()) << process_->error();
  }
  int Stop() {
    process_->Signal(SIGTERM);
    return process_->WaitFor(absl::Minutes(1)).value_or(-1);
  }
  std::string target() const { return "unix:" + directory_.Child("socket"); }
  std::string KeyFile(const std::string& name) const { return directory_.Child("data/" + name + ".key"); }
  RpcClient AcmeOwner() const {
    std::string key = ReadFile(KeyFile("acme"));
    key.pop_back();
    return RpcClient(ChannelTo(target()), key);
  }

 private:
  TempDirectory directory_;
  std::unique_ptr<ChildProcess> process_;
};

TEST(ClientCache, GoesOnAfterTheServersRestart) {
  ServerOnSocket server;
  server.Start();
  const v1::CreateKeyResponse made = server.AcmeOwner().MustCreate("acme", "stays", "viewer");
  const v1::CreateKeyResponse gone = server.AcmeOwner().MustCreate("acme", "goes", "viewer");
  const auto ear = std::make_shared<Ear>();
  const auto verifier =
      MustConnect({.server = server.target(), .key_file = server.KeyFile("verifier"), .observer = ear});
  ASSERT_TRUE(WaitForLease(*verifier));
  Warm(*verifier, made.key_string());
  Warm(*verifier, gone.key_string());
  EXPECT_EQ(server.Stop(), 0);
  EXPECT_EQ(ear->drains, 1);
  server.Start();
  ASSERT_TRUE(Eventually(kPatience, [&] { return verifier->Stats().watch_connects == 2 && WaitForLease(*verifier); }));
  EXPECT_TRUE(verifier->Verify(made.key_string()).allowed());
  ASSERT_THAT(DeleteEverywhere(server.AcmeOwner(), gone.key().name()), IsOk());
  EXPECT_TRUE(verifier->Verify(gone.key_string()).denied());
  Warm(*verifier, made.key_string());
  EXPECT_EQ(server.Stop(), 0);
}

TEST(ClientCache, WithoutAServerItFailsClosedAfterTheLeaseOrBelievesForTheGrace) {
  const std::string database = FreshDatabase();
  const Installation installation(database);
  SetShortBound(database);
  RunningServer server(installation.Serve());
  ASSERT_TRUE(server.WaitUntilServing());
  const RpcClient system = server.As(installation.system_key());
  const std::string file = installation.directory().Child("system.key");
  const std::string kept = system.MustCreate("system", "kept", "verifier").key_string();
  const v1::CreateKeyResponse gone = system.MustCreate("system", "gone", "verifier");
  const std::string unknown = system.MustCreate("system", "never asked about", "verifier").key_string();
  const auto ear = std::make_shared<Ear>();
  const auto closed = MustConnect({.server = server.address(), .key_file = file});
  const auto grace = MustConnect({.server = server.address(),
                                  .key_file = file,
                                  .on_unavailable = VerifierOptions::OnUnavailable::kGrace,
                                  .grace = absl::Minutes(10),
                                  .observer = ear});
  const auto brief = MustConnect({.server = server.address(),
                                  .key_file = file,
                                  .on_unavailable = VerifierOptions::OnUnavailable::kGrace,
                                  .grace = absl::Seconds(1)});
  for (Verifier* verifier : {closed.get(), grace.get(), brief.get()}) ASSERT_TRUE(WaitForLease(*verifier));
  // What is learnt within L of a stream's beginning is not believed beyond its own answer's lease.
  const absl::Time settled_at = absl::Now() + absl::Seconds(2.1);
  ASSERT_TRUE(Eventually(kPatience, [&] { return absl::Now() > settled_at; }));
  for (Verifier* verifier : {closed.get(), grace.get(), brief.get()}) {
    Warm(*verifier, kept);
    Warm(*verifier, gone.key_string());
  }
  ASSERT_THAT(DeleteEverywhere(system, gone.key().name()), IsOk());
  server.Kill();
  EXPECT_TRUE(closed->Verify(kept).allowed()) << "the lease lasts";
  EXPECT_TRUE(Eventually(kPatience, [&] { return closed->Verify(kept).undecided(); }));
  EXPECT_EQ(closed->Verify(kept).error().code(), absl::StatusCode::kUnavailable);
  EXPECT_TRUE(Eventually(kPatience, [&] { return brief->Verify(kept).undecided(); }));
  EXPECT_GT(brief->Stats().grace_uses, 0);
  EXPECT_TRUE(Eventually(kPatience, [&] { return grace->Verify(kept).allowed() && grace->Stats().grace_uses > 0; }));
  EXPECT_EQ(grace->Verify(kept, {.required_permissions = {"app.write"}}).decision(), Decision::kPermissionDenied);
  EXPECT_FALSE(grace->Verify(gone.key_string()).allowed());
  EXPECT_TRUE(grace->Verify(unknown).undecided());
  EXPECT_TRUE(Eventually(kPatience, [&] { return ear->leases_lost == 1 && ear->graces == 1; }));
  EXPECT_GT(grace->Stats().staleness, grace->Stats().max_staleness);
}

TEST(ClientCache, AClientThatIsThereBeforeItsServerAnswersOnceTheServerIsUp) {
  const std::string database = FreshDatabase();
  const Installation installation(database);
  const std::string target = "unix:" + installation.directory().Child("socket");
  const std::string file = installation.directory().Child("system.key");
  const auto verifier = MustConnect({.server = target, .key_file = file});
  EXPECT_EQ(verifier->Verify(installation.system_key()).error().code(), absl::StatusCode::kUnavailable);
  auto arguments = installation.Serve();
  arguments.insert(arguments.begin(), Program("server/latchkeyd"));
  arguments.insert(arguments.end(), {"--listen", target});
  ChildProcess server({.arguments = arguments});
  EXPECT_TRUE(verifier->WaitUntilConnected(kPatience));
  EXPECT_TRUE(Eventually(kPatience, [&] { return verifier->Verify(installation.system_key()).allowed(); }));
  EXPECT_TRUE(WaitForLease(*verifier));
  Warm(*verifier, installation.system_key());
  server.Signal(SIGTERM);
  EXPECT_EQ(server.WaitFor(kPatience), 0);
}

// --- Usage ---

TEST(ClientCache, UsesFromMemoryAreCountedAndSeen) {
  const std::string database = FreshDatabase();
  const Installation installation(database);
  RunningServer server(installation.Serve());
  ASSERT_TRUE(server.WaitUntilServing());
  const RpcClient system = server.As(installation.system_key());
  const v1::CreateKeyResponse made = system.MustCreate("system", "used", "verifier");
  EXPECT_FALSE(system.Get(made.key().name())->has_last_used_time());
  int64_t uses = 0;
  {
    const auto verifier =
        MustConnect({.server = server.address(), .key_file = installation.directory().Child("system.key")});
    ASSERT_TRUE(WaitForLease(*verifier));
    for (; uses < 1'000; ++uses) ASSERT_TRUE(verifier->Verify(made.key_string()).allowed());
    ASSERT_EQ(verifier->Verify(made.key_string(), {.required_permissions = {"app.read"}}).decision(),
              Decision::kPermissionDenied);
    ASSERT_GE(verifier->Stats().hits, 900);
  }
  EXPECT_TRUE(Eventually(kPatience, [&] { return system.Get(made.key().name())->has_last_used_time(); }));
  const v1::Key seen = *system.Get(made.key().name());
  EXPECT_LE(absl::AbsDuration(absl::FromUnixSeconds(seen.last_used_time().seconds()) - absl::Now()), absl::Minutes(2));
  // At the end it writes what it counted itself: the misses.
  EXPECT_EQ(server.Terminate(), 0);
  const auto counted = [&](int decision) {
    return RunSql(database, absl::StrCat("SELECT sum(count) FROM key_use_hours WHERE kid = '", KeyIdOf(made.key()),
                                         "' AND version = 1 AND decision = ", decision));
  };
  EXPECT_EQ(counted(v1::DECISION_ALLOWED), absl::StrCat(uses));
  EXPECT_EQ(counted(v1::DECISION_PERMISSION_DENIED), "1");
}

// --- Two servers on one database ---

class TwoServers : public ::testing::Test {
 protected:
  void SetUp() override {
    SetShortBound(database_);
    for (auto* server : {&one_, &two_}) {
      *server = std::make_unique<RunningServer>(
          installation_.Serve({"--hash-profile", "random-key", "--doorbell", "none", "--drain-seconds", "1"}));
    }
    ASSERT_TRUE(one_->WaitUntilServing());
    ASSERT_TRUE(two_->WaitUntilServing());
  }
  RpcClient On(const RunningServer& server) const { return server.As(installation_.system_key()); }
  std::string key_file() const { return installation_.directory().Child("system.key"); }

  const std::string database_ = FreshDatabase();
  const Installation installation_{database_};
  std::unique_ptr<RunningServer> one_;
  std::unique_ptr<RunningServer> two_;
};

TEST_F(TwoServers, OneClientUsesBothAndWatchesOne) {
  TcpProxy to_one(one_->address().substr(one_->address().rfind(':') + 1));
  TcpProxy to_two(two_->address().substr(two_->address().rfind(':') + 1));
  const auto verifier =
      MustConnect({.server = absl::StrCat("ipv4:", to_one.address(), ",", to_two.address()), .key_file = key_file()});
  ASSERT_TRUE(WaitForLease(*verifier));
  const v1::CreateKeyResponse first = On(*one_).MustCreate("system", "first", "verifier");
  // The other server hears of it at its next renewal.
  ASSERT_TRUE(Eventually(kPatience, [&] { return verifier->Verify(first.key_string()).allowed(); }));
  Warm(*verifier, first.key_string());
  EXPECT_EQ(verifier->Stats().watch_connects, 1);

  ASSERT_THAT(DeleteEverywhere(On(*two_), first.key().name()), IsOk());
  EXPECT_TRUE(verifier->Verify(first.key_string()).denied());

  // Each link is cut in turn; one of them is the watched one.
  const v1::CreateKeyResponse second = On(*one_).MustCreate("system", "second", "verifier");
  ASSERT_TRUE(Eventually(kPatience, [&] { return On(*two_).Decide(second.key_string()) == v1::DECISION_ALLOWED; }));
  for (TcpProxy* link : {&to_one, &to_two}) {
    link->Set(TcpProxy::Mode::kCut);
    const absl::Time until = absl::Now() + absl::Milliseconds(500);
    while (absl::Now() < until) {
      const Answer answer = verifier->Verify(second.key_string());
      EXPECT_TRUE(answer.allowed()) << DecisionName(answer.decision()) << ": " << answer.error();
    }
    ASSERT_TRUE(WaitForLease(*verifier));
    link->Set(TcpProxy::Mode::kPass);
    ASSERT_TRUE(Eventually(kPatience, [&] { return verifier->Stats().watching; }));
  }
  EXPECT_GE(verifier->Stats().watch_connects, 2);
  ASSERT_TRUE(Eventually(kPatience, [&] { return verifier->Stats().watching && WaitForLease(*verifier); }));
  ASSERT_THAT(DeleteEverywhere(On(*one_), second.key().name()), IsOk());
  EXPECT_TRUE(verifier->Verify(second.key_string()).denied());
}

// The server that is watched tells of a change before the other one, which is asked, has heard of it. Which of them a
// client watches and asks is drawn by lot: of six, one at least asks another than it watches (63 of 64 times).
TEST_F(TwoServers, AChangeThatOnlyOneHasHeardOfLeavesNoQuestionUndecided) {
  for (int client = 0; client < 6; ++client) {
    const auto verifier =
        MustConnect({.server = absl::StrCat("ipv4:", one_->address(), ",", two_->address()), .key_file = key_file()});
    ASSERT_TRUE(WaitForLease(*verifier));
    for (const auto& server : {one_.get(), two_.get()}) {
      const RpcClient on = On(*server);
      const v1::CreateKeyResponse made = on.MustCreate("system", "soon gone", "verifier");
      ASSERT_TRUE(Eventually(kPatience, [&] { return verifier->Verify(made.key_string()).allowed(); }));
      Warm(*verifier, made.key_string());
      ASSERT_THAT(on.Delete(made.key().name()), IsOk());
      Answer answer;
      do {
        answer = verifier->Verify(made.key_string());
        ASSERT_FALSE(answer.undecided()) << answer.error();
      } while (answer.allowed());
      EXPECT_EQ(answer.decision(), Decision::kRevoked);
    }
  }
}

TEST_F(TwoServers, ATokenOfOneMakesTheOtherAnswerFromAStateAsNew) {
  const RpcClient on_one = On(*one_);
  const RpcClient on_two = On(*two_);
  const auto ask = [&](const std::string& key, const std::string& token, bool fresh) {
    v1::VerifyRequest request;
    request.set_key(key);
    request.set_min_revision(token);
    request.set_fresh(fresh);
    return on_two.Call(&v1::KeyVerify::Stub::Verify, request);
  };
  const auto decision = [](const absl::StatusOr<v1::VerifyResponse>& answer) {
    return answer.ok() ? v1::Decision_Name(answer->decision()) : answer.status().ToString();
  };
  for (const bool fresh : {false, true}) {
    for (int i = 0; i < 5; ++i) {
      const v1::CreateKeyResponse made = on_one.MustCreate("system", "told by token", "verifier");
      ASSERT_NE(made.key().revision().token(), "");
      const auto known = ask(made.key_string(), fresh ? "" : made.key().revision().token(), fresh);
      EXPECT_EQ(decision(known), "DECISION_ALLOWED");
      ASSERT_TRUE(known.ok());
      EXPECT_GE(known->revision().number(), made.key().revision().number());
      const auto gone = on_one.Delete(made.key().name());
      ASSERT_THAT(gone, IsOk());
      EXPECT_EQ(decision(ask(made.key_string(), fresh ? "" : gone->revision().token(), fresh)), "DECISION_REVOKED");
    }
  }
  const v1::CreateKeyResponse made = on_one.MustCreate("system", "in a batch", "verifier");
  v1::BatchVerifyRequest batch;
  batch.add_requests()->set_key(made.key_string());
  batch.mutable_requests(0)->set_min_revision(made.key().revision().token());
  const auto answered = on_two.Call(&v1::KeyVerify::Stub::BatchVerify, batch);
  ASSERT_THAT(answered, IsOk());
  EXPECT_EQ(answered->results(0).response().decision(), v1::DECISION_ALLOWED);

  const Installation other(FreshDatabase());
  RunningServer stranger(other.Serve());
  ASSERT_TRUE(stranger.WaitUntilServing());
  const v1::CreateKeyResponse foreign =
      stranger.As(other.system_key()).MustCreate("system", "of another history", "verifier");
  EXPECT_THAT(ask(made.key_string(), foreign.key().revision().token(), false),
              Refused(absl::StatusCode::kFailedPrecondition, "REVISION_UNKNOWN"));
  EXPECT_THAT(ask(made.key_string(), "nonsense", false), RefusedField("FIELD_INVALID", "min_revision"));
}

}  // namespace
}  // namespace latchkey::testing
