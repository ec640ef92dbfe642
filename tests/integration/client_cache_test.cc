// The Verifier with its cache on one real server: what it answers from memory, and how soon a change reaches it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/integration/caching_client.h"

namespace latchkey::testing {
namespace {

TEST(ClientCache, AnswersFromMemoryWithoutAskingTheServer) {
  DevServer& dev = SharedDevServer();
  const v1::CreateKeyResponse made = dev.AcmeOwner().MustCreate("acme", "hit", "editor");
  const auto verifier = CachingVerifierOn(dev);
  Warm(*verifier, made.key_string());
  const int64_t asked = Questions(*verifier);
  for (int i = 0; i < 1'000; ++i) {
    const Answer answer = verifier->Verify(made.key_string(), {.required_permissions = {"app.write"}});
    ASSERT_TRUE(answer.allowed()) << answer.error();
    ASSERT_EQ(answer.identity().name(), made.key().name());
  }
  EXPECT_EQ(Questions(*verifier), asked);
  EXPECT_GE(verifier->Stats().hits, 1'000);
}

TEST(ClientCache, WhoWaitedForAllHasARevokedKeyRefusedAtOnce) {
  DevServer& dev = SharedDevServer();
  const RpcClient owner = dev.AcmeOwner();
  const auto verifier = CachingVerifierOn(dev);
  for (int i = 0; i < 20; ++i) {
    const v1::CreateKeyResponse made = owner.MustCreate("acme", "short life", "editor");
    Warm(*verifier, made.key_string());
    const int64_t hits = verifier->Stats().hits;
    ASSERT_TRUE(verifier->Verify(made.key_string()).allowed());
    ASSERT_GT(verifier->Stats().hits, hits) << "it was in memory";
    ASSERT_THAT(DeleteEverywhere(owner, made.key().name()), IsOk());
    const Answer answer = verifier->Verify(made.key_string());
    ASSERT_TRUE(answer.denied()) << answer.error();
    EXPECT_EQ(answer.decision(), Decision::kRevoked);
    EXPECT_EQ(answer.identity().name(), made.key().name());
  }
}

TEST(ClientCache, RefusesADeletedKeyThoughNobodyWaited) {
  DevServer& dev = SharedDevServer();
  const v1::CreateKeyResponse made = dev.AcmeOwner().MustCreate("acme", "short life", "editor");
  const auto verifier = CachingVerifierOn(dev);
  Warm(*verifier, made.key_string());
  ASSERT_THAT(dev.AcmeOwner().Delete(made.key().name()), IsOk());
  EXPECT_TRUE(Eventually(absl::Seconds(6), [&] { return verifier->Verify(made.key_string()).denied(); }));
}

TEST(ClientCache, NoThreadIsLetInAfterTheWaitThoughAllAskAllTheTime) {
  DevServer& dev = SharedDevServer();
  const RpcClient owner = dev.AcmeOwner();
  constexpr int kKeys = 24;
  constexpr int kThreads = 32;
  std::vector<v1::CreateKeyResponse> made;
  for (int i = 0; i < kKeys; ++i) made.push_back(owner.MustCreate("acme", absl::StrCat("under load ", i), "editor"));
  // Of a capacity below the number of keys: entries come and go all the time.
  const auto verifier =
      MustConnect({.server = dev.server().address(), .key_file = dev.KeyFile("verifier"), .cache_entries = kKeys / 2});
  ASSERT_TRUE(WaitForLease(*verifier));
  std::vector<std::atomic<bool>> dead(kKeys);
  std::atomic<int> late = 0;
  std::atomic<int> undecided = 0;
  std::atomic<int64_t> allowed = 0;
  std::atomic<bool> stop = false;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = t; !stop; ++i) {
        const int at = i % kKeys;
        const bool was_dead = dead[at];
        const Answer answer = verifier->Verify(made[at].key_string());
        if (answer.undecided()) ++undecided;
        if (answer.allowed()) ++allowed;
        if (answer.allowed() && was_dead) ++late;
      }
    });
  }
  for (int i = 0; i < kKeys; ++i) {
    const int64_t before = allowed;
    EXPECT_TRUE(Eventually(kPatience, [&] { return allowed > before + 10 || i + 1 == kKeys; }));
    EXPECT_THAT(DeleteEverywhere(owner, made[i].key().name()), IsOk());
    dead[i] = true;
  }
  stop = true;
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(late, 0) << "let in after DeleteKey had returned";
  EXPECT_EQ(undecided, 0);
}

TEST(ClientCache, FollowsTheRoleOfAKeyUpAndDown) {
  DevServer& dev = SharedDevServer();
  const RpcClient owner = dev.AcmeOwner();
  const v1::CreateKeyResponse made = owner.MustCreate("acme", "changes role", "viewer");
  const auto verifier = CachingVerifierOn(dev);
  Warm(*verifier, made.key_string());
  const auto writes = [&] { return verifier->Verify(made.key_string(), {.required_permissions = {"app.write"}}); };
  EXPECT_EQ(writes().decision(), Decision::kPermissionDenied);
  ASSERT_THAT(Update(owner, made.key().name(), [](v1::Key& key) { key.set_role("editor"); }), IsOk());
  EXPECT_TRUE(Eventually(absl::Seconds(6), [&] { return writes().allowed(); }));
  EXPECT_EQ(verifier->Verify(made.key_string()).identity().role(), "editor");
  Warm(*verifier, made.key_string());
  ASSERT_THAT(Update(owner, made.key().name(), [](v1::Key& key) { key.set_role("viewer"); }), IsOk());
  EXPECT_TRUE(Eventually(absl::Seconds(6), [&] { return writes().decision() == Decision::kPermissionDenied; }));
}

TEST(ClientCache, AKeyIsExpiredInMemoryFromTheVeryTimeOn) {
  DevServer& dev = SharedDevServer();
  const v1::CreateKeyResponse made =
      CreateWith(dev.AcmeOwner(), "acme", "viewer", [](v1::Key& key) { key.mutable_ttl()->set_seconds(2); });
  const auto verifier = CachingVerifierOn(dev);
  Warm(*verifier, made.key_string());
  const int64_t asked = Questions(*verifier);
  const auto& expire_time = made.key().expire_time();
  const absl::Time ends_at = absl::FromUnixSeconds(expire_time.seconds()) + absl::Nanoseconds(expire_time.nanos());
  // The database's clock is this machine's.
  ASSERT_TRUE(Eventually(kPatience, [&] { return absl::Now() >= ends_at; }));
  const Answer answer = verifier->Verify(made.key_string());
  EXPECT_EQ(answer.decision(), Decision::kExpired) << answer.error();
  EXPECT_EQ(answer.identity().name(), made.key().name());
  EXPECT_EQ(Questions(*verifier), asked) << "it knew by itself";
}

TEST(ClientCache, AnExpiryThatIsMovedCloserCounts) {
  DevServer& dev = SharedDevServer();
  const RpcClient owner = dev.AcmeOwner();
  const v1::CreateKeyResponse made = owner.MustCreate("acme", "for ever, so far", "viewer");
  const auto verifier = CachingVerifierOn(dev);
  Warm(*verifier, made.key_string());
  ASSERT_EQ(verifier->Verify(made.key_string()).identity().expires_at(), absl::InfiniteFuture());
  ASSERT_THAT(Update(owner, made.key().name(), [](v1::Key& key) { key.mutable_ttl()->set_seconds(1); }), IsOk());
  EXPECT_TRUE(Eventually(absl::Seconds(7),
                         [&] { return verifier->Verify(made.key_string()).decision() == Decision::kExpired; }));
}

TEST(ClientCache, JudgesAddressesAndPermissionsAsTheServerDoes) {
  DevServer& dev = SharedDevServer();
  const RpcClient owner = dev.AcmeOwner();
  const RpcClient server = dev.Verifier();
  const auto verifier = CachingVerifierOn(dev);
  const std::vector<std::vector<std::string>> blocks = {{}, {"10.0.0.0/8", "2001:db8::/32", "192.0.2.7"}, {"::/0"}};
  const std::vector<std::string> addresses = {
      "",    "10.1.2.3",        "11.0.0.1",        "192.0.2.7", "192.0.2.8",   "2001:db8::1",  "2001:db9::1",
      "::1", "::ffff:10.1.2.3", "::ffff:11.0.0.1", "010.1.2.3", "10.1.2.3:80", "fe80::1%eth0", "nonsense"};
  const std::vector<std::vector<std::string>> wanted = {
      {}, {"app.read"}, {"app.write"}, {"app.read", "app.write"}, {"latchkey.keys.create"}, {"app"}, {"App.read"}};
  int allowed = 0;
  int denied = 0;
  int refused = 0;
  for (const auto& cidrs : blocks) {
    for (const char* role : {"owner", "viewer", "editor"}) {
      const v1::CreateKeyResponse made = CreateWith(owner, "acme", role, [&](v1::Key& key) {
        for (const std::string& block : cidrs) key.add_allowed_cidrs(block);
      });
      Warm(*verifier, made.key_string());
      for (const std::string& address : addresses) {
        for (const auto& permissions : wanted) {
          v1::VerifyRequest request;
          request.set_key(made.key_string());
          for (const std::string& permission : permissions) request.add_required_permissions(permission);
          if (!address.empty()) request.mutable_client()->set_ip(address);
          const auto theirs = server.Call(&v1::KeyVerify::Stub::Verify, request);
          const Answer ours =
              verifier->Verify(made.key_string(), {.required_permissions = permissions, .client_ip = address});
          const std::string about =
              absl::StrCat(role, " from \"", address, "\" for ", permissions.empty() ? "nothing" : permissions.back());
          if (!theirs.ok()) {
            EXPECT_EQ(ours.error().code(), theirs.status().code()) << about;
            ++refused;
            continue;
          }
          ASSERT_FALSE(ours.undecided()) << about << ": " << ours.error();
          EXPECT_EQ(static_cast<int>(ours.decision()), static_cast<int>(theirs->decision())) << about;
          EXPECT_EQ(ours.identity().name(), theirs->identity().name()) << about;
          ++(ours.allowed() ? allowed : denied);
        }
      }
    }
  }
  EXPECT_GT(allowed, 50);
  EXPECT_GT(denied, 50);
  EXPECT_GT(refused, 50);
}

TEST(ClientCache, AVerifierWhoseOwnKeyIsDeletedCannotDecide) {
  DevServer& dev = SharedDevServer();
  const Tenant tenant = NewTenant(dev);
  const RpcClient owner = dev.server().As(tenant.owner.key_string());
  const v1::CreateKeyResponse own = owner.MustCreate(tenant.organization, "service", "verifier");
  const v1::CreateKeyResponse known = owner.MustCreate(tenant.organization, "known", "viewer");
  const v1::CreateKeyResponse other = owner.MustCreate(tenant.organization, "other", "viewer");
  const TempDirectory directory;
  const auto ear = std::make_shared<Ear>();
  const auto verifier = MustConnect({.server = dev.server().address(),
                                     .key_file = directory.WriteFile("own.key", own.key_string() + "\n"),
                                     .on_unavailable = VerifierOptions::OnUnavailable::kGrace,
                                     .grace = absl::Minutes(1),
                                     .observer = ear});
  ASSERT_TRUE(WaitForLease(*verifier));
  Warm(*verifier, known.key_string());
  ASSERT_THAT(owner.Delete(own.key().name()), IsOk());
  const Answer miss = verifier->Verify(other.key_string());
  EXPECT_TRUE(miss.undecided());
  EXPECT_EQ(miss.error().code(), absl::StatusCode::kUnauthenticated) << miss.error();
  // What it remembers goes with the lease: grace is for servers that can't be reached.
  EXPECT_TRUE(Eventually(absl::Seconds(8), [&] { return !verifier->Verify(known.key_string()).allowed(); }));
  const Answer hit = verifier->Verify(known.key_string());
  EXPECT_TRUE(hit.undecided());
  EXPECT_EQ(hit.error().code(), absl::StatusCode::kUnauthenticated) << hit.error();
  EXPECT_EQ(ear->why().code(), absl::StatusCode::kUnauthenticated) << ear->why();
  EXPECT_EQ(ear->graces, 0);
}

TEST(ClientCache, CallsUnderWayAreAnsweredBeforeTheVerifierIsGone) {
  DevServer& dev = SharedDevServer();
  const RpcClient owner = dev.AcmeOwner();
  std::vector<v1::CreateKeyResponse> made;
  for (int i = 0; i < 16; ++i) made.push_back(owner.MustCreate("acme", "asynchronous", "viewer"));
  std::atomic<int> allowed = 0;
  std::atomic<int> others = 0;
  for (int round = 0; round < 10; ++round) {
    const auto verifier = MustConnect({.server = dev.server().address(), .key_file = dev.KeyFile("verifier")});
    const bool over_the_stream = round % 2 == 0;
    ASSERT_TRUE(!over_the_stream || WaitForLease(*verifier));
    for (int i = 0; i < 64; ++i) {
      verifier->VerifyAsync(made[i % made.size()].key_string(), {},
                            [&](const Answer& answer) { ++(answer.allowed() ? allowed : others); });
    }
  }
  EXPECT_EQ(allowed, 10 * 64);
  EXPECT_EQ(others, 0);
}

TEST(ClientCache, ATargetThatCanNeverBeReachedIsRefusedAtConnect) {
  DevServer& dev = SharedDevServer();
  for (const char* wrong : {"", "localhost", "127.0.0.1", "http://127.0.0.1:50051", "HTTPS://127.0.0.1:50051",
                            " 127.0.0.1:50051", "127.0.0.1:50051\n", "ipv4:127.0.0.1"}) {
    const auto refused = Verifier::Connect({.server = wrong, .key_file = dev.KeyFile("verifier")});
    EXPECT_EQ(refused.status().code(), absl::StatusCode::kInvalidArgument) << wrong;
    EXPECT_THAT(refused.status().ToString(), ::testing::HasSubstr("VerifierOptions.server")) << wrong;
  }
}

}  // namespace
}  // namespace latchkey::testing
