#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "client/src/cache/lease_cache.h"
#include "tests/client/src/cache/lease_cache_fixture.h"

namespace latchkey::client {
namespace {

// --- Denials ---

TEST_F(LeaseCacheTest, DenialIsRememberedForItsTimeAndNoLonger) {
  OpenSettledStream();
  Pong();
  LeaseCache::ServerAnswer answer = Allowed("a");
  answer.decision = Decision::kRevoked;
  EXPECT_EQ(Insert("a", answer)->decision, Decision::kRevoked);
  EXPECT_EQ(Insert("b", Denied(Decision::kNotFound))->decision, Decision::kNotFound);
  EXPECT_EQ(cache.negative_count(), 2u);
  clock.Advance(absl::Seconds(1) - absl::Nanoseconds(1));
  EXPECT_EQ(cache.Find(KeyOf("a"), {})->identity.display_name(), "Key a");
  EXPECT_EQ(Find("a"), Decision::kRevoked);
  EXPECT_EQ(Find("b"), Decision::kNotFound);
  clock.Advance(absl::Nanoseconds(1));
  EXPECT_EQ(Find("a"), Decision::kUnspecified);
}

TEST_F(LeaseCacheTest, DenialLastsNoLongerThanTheLease) {
  OpenSettledStream();
  Pong(10, absl::Milliseconds(500));
  Insert("a", Denied(Decision::kNotFound));
  EXPECT_EQ(Find("a"), Decision::kNotFound);
  clock.Advance(absl::Milliseconds(500));
  EXPECT_EQ(Find("a"), Decision::kUnspecified);
}

TEST_F(LeaseCacheTest, DenialRemovesTheEntryAndAnAllowanceTheDenial) {
  OpenSettledStream();
  Pong();
  Insert("a", Allowed("a"));
  Insert("a", Denied(Decision::kDisabled));
  EXPECT_EQ(cache.size(), 0u);
  EXPECT_EQ(Find("a"), Decision::kDisabled);
  Insert("a", Allowed("a"));
  EXPECT_EQ(Find("a"), Decision::kAllowed);
  EXPECT_EQ(cache.negative_count(), 0u);
}

TEST_F(LeaseCacheTest, InvalidateEndsTheDenialToo) {
  OpenSettledStream();
  Pong();
  Insert("a", Denied(Decision::kDisabled));
  InvalidateKey("a", 11);
  EXPECT_EQ(Find("a"), Decision::kUnspecified);
}

TEST_F(LeaseCacheTest, InvalidateOfAnOrganizationEndsEveryDenial) {
  OpenSettledStream();
  Pong();
  LeaseCache::ServerAnswer revoked = Allowed("a");
  revoked.decision = Decision::kRevoked;
  Insert("a", revoked);
  Insert("b", Denied(Decision::kNotFound));  // Of which organization, nobody knows.
  ASSERT_EQ(Find("a"), Decision::kRevoked);
  ASSERT_EQ(Find("b"), Decision::kNotFound);
  cache.Invalidate(stream, {.revision = At(11), .organizations = {"other"}});
  EXPECT_EQ(Find("a"), Decision::kUnspecified);
  EXPECT_EQ(Find("b"), Decision::kUnspecified);
  EXPECT_EQ(cache.negative_count(), 0u);
}

class SmallCache : public LeaseCacheTest {
 protected:
  SmallCache() : LeaseCacheTest({.capacity = 3, .negatives = 2}) {}
};

TEST_F(SmallCache, GarbageCannotPushKeysOut) {
  OpenSettledStream();
  Pong();
  for (const char* name : {"a", "b", "c"}) Insert(name, Allowed(name));
  for (int i = 0; i < 100; ++i) Insert("g" + std::to_string(i), Denied(Decision::kNotFound));
  EXPECT_EQ(cache.negative_count(), 2u);
  EXPECT_EQ(cache.size(), 3u);
  EXPECT_EQ(cache.evictions(), 0);
}

TEST_F(SmallCache, KeyThatWasUsedIsEvictedAfterOneThatWasNot) {
  OpenSettledStream();
  Pong();
  for (const char* name : {"a", "b", "c"}) Insert(name, Allowed(name));
  Find("a");
  Find("c");
  Insert("d", Allowed("d"));
  EXPECT_EQ(cache.size(), 3u);
  EXPECT_EQ(cache.evictions(), 1);
  EXPECT_EQ(Find("a"), Decision::kAllowed);
  EXPECT_EQ(Find("b"), Decision::kUnspecified);
  EXPECT_EQ(Find("c"), Decision::kAllowed);
  EXPECT_EQ(Find("d"), Decision::kAllowed);
}

TEST_F(SmallCache, WhatHoldsNoMoreIsEvictedFirst) {
  OpenSettledStream();
  Pong();
  Identity::Fields other = FieldsOf("c");
  other.role = "viewer";
  Insert("a", Allowed("a"));
  Insert("b", Allowed("b"));
  Insert("c", AllowedAs(other));
  Find("c");
  cache.Invalidate(stream, {.revision = At(11), .roles = {"organizations/acme/roles/viewer"}});
  Find("a");
  Find("b");
  Insert("d", Allowed("d", 11));
  EXPECT_EQ(Find("c"), Decision::kUnspecified);
  EXPECT_EQ(cache.evictions(), 0);
  EXPECT_EQ(Find("a"), Decision::kAllowed);
  EXPECT_EQ(Find("b"), Decision::kAllowed);
}

TEST_F(SmallCache, PlacesOfInvalidatedKeysAreUsedAgain) {
  OpenSettledStream();
  Pong();
  for (int i = 0; i < 1000; ++i) {
    const std::string name = "k" + std::to_string(i);
    Insert(name, Allowed(name, 2000));
    if (i % 2 == 0) InvalidateKey(name, 11 + i);
    EXPECT_LE(cache.size(), 3u);
  }
  EXPECT_EQ(Find("k999"), Decision::kAllowed);
}

// --- Grace ---

class GraceCache : public LeaseCacheTest {
 protected:
  GraceCache() : LeaseCacheTest({.grace = absl::Minutes(1)}) {}
};

TEST_F(LeaseCacheTest, WithoutGraceNothingIsFoundInIt) {
  OpenSettledStream();
  Pong();
  Insert("a", Allowed("a"));
  clock.Advance(kL);
  EXPECT_EQ(FindInGrace("a"), Decision::kUnspecified);
}

TEST_F(GraceCache, KeyIsFoundUntilGraceHasPassedSinceTheLeasesEnd) {
  OpenSettledStream();
  Pong();
  Insert("a", Allowed("a"));
  EXPECT_FALSE(cache.FindInGrace(KeyOf("a"), {})->in_grace);
  clock.Advance(kL);
  EXPECT_EQ(Find("a"), Decision::kUnspecified);
  EXPECT_TRUE(cache.FindInGrace(KeyOf("a"), {})->in_grace);
  clock.Advance(absl::Minutes(1) - absl::Nanoseconds(1));
  EXPECT_EQ(FindInGrace("a"), Decision::kAllowed);
  clock.Advance(absl::Nanoseconds(1));
  EXPECT_EQ(FindInGrace("a"), Decision::kUnspecified);
}

TEST_F(GraceCache, KeyLearntJustAfterHelloIsFoundUntilGraceHasPassedSinceItsAnswersLease) {
  stream = cache.BeginStream();
  cache.Hello(stream, At(10), false, kL, kHistory);
  Pong();
  Insert("a", Allowed("a"));
  LeaseCache::ServerAnswer ending = Allowed("b");
  ending.expires_in = absl::Hours(1);
  Insert("b", ending);
  clock.Advance(kL - absl::Seconds(1));
  Pong();
  clock.Advance(absl::Seconds(1));
  EXPECT_EQ(Find("a"), Decision::kUnspecified);  // The stream's lease lasts, the answer's does not.
  EXPECT_TRUE(cache.FindInGrace(KeyOf("a"), {})->in_grace);
  EXPECT_TRUE(cache.FindInGrace(KeyOf("b"), {})->in_grace);
  clock.Advance(absl::Minutes(1) - absl::Nanoseconds(1));
  EXPECT_EQ(FindInGrace("a"), Decision::kAllowed);
  clock.Advance(absl::Nanoseconds(1));
  EXPECT_EQ(FindInGrace("a"), Decision::kUnspecified);
}

TEST_F(GraceCache, GraceLengthensNoExpiryWhateverTheAnswersLease) {
  stream = cache.BeginStream();
  cache.Hello(stream, At(10), false, kL, kHistory);
  Pong();
  LeaseCache::ServerAnswer soon = Allowed("soon");
  soon.expires_in = absl::Seconds(20);
  Insert("soon", soon);
  LeaseCache::ServerAnswer far = Allowed("far");
  far.expires_in = absl::Minutes(11);  // Asked about again 1.32 s before.
  far.history = kHistory;
  Insert("far", far);
  clock.Advance(absl::Seconds(20) - absl::Nanoseconds(1));
  EXPECT_EQ(FindInGrace("soon"), Decision::kAllowed);
  clock.Advance(absl::Nanoseconds(1));
  EXPECT_EQ(FindInGrace("soon"), Decision::kUnspecified)
      << "its lease is over: whether it has expired is the server's to say";
  clock.Advance(absl::Minutes(11) - absl::Seconds(20) - absl::Seconds(1.33));
  Pong();
  EXPECT_EQ(FindInGrace("far"), Decision::kAllowed);
  clock.Advance(absl::Seconds(0.02));
  EXPECT_EQ(FindInGrace("far"), Decision::kUnspecified);
}

TEST_F(GraceCache, PermissionsAndExpiryApplyInGrace) {
  OpenSettledStream();
  Pong();
  LeaseCache::ServerAnswer answer = Allowed("a");
  answer.expires_in = absl::Seconds(20);
  Insert("a", answer);
  clock.Advance(absl::Seconds(10));
  EXPECT_EQ(FindInGrace("a", {.required_permissions = {"app.admin"}}), Decision::kPermissionDenied);
  EXPECT_EQ(FindInGrace("a"), Decision::kAllowed);
  clock.Advance(absl::Seconds(10));
  EXPECT_EQ(FindInGrace("a"), Decision::kExpired);
}

TEST_F(GraceCache, DenialAndInvalidateEndIt) {
  OpenSettledStream();
  Pong();
  for (const char* name : {"a", "b", "c"}) Insert(name, Allowed(name));
  clock.Advance(kL);
  Insert("a", Denied(Decision::kRevoked));
  InvalidateKey("b", 11);
  EXPECT_EQ(FindInGrace("a"), Decision::kUnspecified);
  EXPECT_EQ(FindInGrace("b"), Decision::kUnspecified);
  EXPECT_EQ(FindInGrace("c"), Decision::kAllowed);
  cache.Invalidate(stream, {.revision = At(12), .organizations = {"acme"}});
  EXPECT_EQ(FindInGrace("c"), Decision::kUnspecified);
}

TEST_F(GraceCache, NothingIsFoundAfterAHelloThatDidNotResume) {
  OpenSettledStream();
  Pong();
  Insert("a", Allowed("a"));
  OpenSettledStream();
  Insert("a", Allowed("a"));
  EXPECT_EQ(FindInGrace("a"), Decision::kUnspecified);
}

// Something happens between the moment at which a decision is formed and its last look at the clock.
class InterruptingClock final : public core::Clock {
 public:
  core::BootTime BootNow() const override {
    if (interrupt) std::exchange(interrupt, nullptr)();
    return now;
  }
  core::BootTime now = core::BootTime::FromNanoseconds(1'000'000'000'000);
  mutable std::function<void()> interrupt;
};

TEST(LeaseCacheReadOrder, LeaseThatWasRenewedAfterTheEntryWasReadDoesNotCount) {
  InterruptingClock clock;
  LeaseCache cache({.grace = absl::Milliseconds(1)}, clock);
  const uint64_t stream = cache.BeginStream();
  cache.Hello(stream, At(10), false, kL);
  clock.now = clock.now + absl::Seconds(10);
  LeaseCache::ServerAnswer answer;
  answer.decision = Decision::kAllowed;
  answer.identity = Identity(FieldsOf("a"));
  answer.revision = 10;
  answer.lease_remaining = kL;
  cache.Insert(cache.BeginRequest(KeyOf("a")), answer, {});
  for (const bool in_grace : {false, true}) {
    cache.Pong(stream, clock.now, At(10), kL);
    ASSERT_TRUE(cache.Find(KeyOf("a"), {}).has_value());
    // The thread sleeps for longer than L just before its last look; meanwhile the key is revoked.
    clock.interrupt = [&] {
      clock.now = clock.now + absl::Seconds(17);
      cache.Invalidate(stream, {.revision = At(11), .key_ids = {KidOf("a")}});
      cache.Pong(stream, clock.now, At(11), kL);
    };
    EXPECT_FALSE((in_grace ? cache.FindInGrace(KeyOf("a"), {}) : cache.Find(KeyOf("a"), {})).has_value());
    EXPECT_FALSE(clock.interrupt);
    answer.revision = 11;
    cache.Insert(cache.BeginRequest(KeyOf("a")), answer, {});
  }
}

TEST(LeaseCacheReadOrder, AnswerWhoseLeaseEndsWhileItIsJudgedIsNotBelieved) {
  InterruptingClock clock;
  LeaseCache cache({}, clock);
  const LeaseCache::PendingRequest request = cache.BeginRequest(KeyOf("a"));
  LeaseCache::ServerAnswer answer;
  answer.decision = Decision::kAllowed;
  answer.identity = Identity(FieldsOf("a"));
  answer.revision = 10;
  answer.lease_remaining = kL;
  // The first look decides whether to store it.
  clock.interrupt = [&] { clock.interrupt = [&] { clock.now = clock.now + kL; }; };
  EXPECT_FALSE(cache.Insert(request, answer, {}).has_value());
}

// --- Threads ---

// Readers, learners and a stream, all at once. `revoked` says up to which round each key has been revoked and a Pong
// came after it; a look-up that began later must not allow an answer of that round.
TEST(LeaseCacheThreads, NoLookUpThatBeganAfterARevocationAndItsPongAllows) {
  constexpr int kKeys = 16;
  constexpr int kRounds = 3000;
  constexpr int64_t kHits = 20'000;            // However the threads are scheduled.
  constexpr int kMostRounds = 1000 * kRounds;  // A cache that answers nothing must not hang the test.
  const core::SystemClock clock;
  LeaseCache cache({.capacity = 12, .negatives = 4}, clock);
  const uint64_t stream = cache.BeginStream();
  cache.Hello(stream, At(1), false, absl::Seconds(60), kHistory);
  std::vector<std::string> keys;
  for (int i = 0; i < kKeys; ++i) keys.push_back(KeyOf("k" + std::to_string(i)));
  std::vector<std::atomic<int64_t>> revoked(kKeys);  // The revision.
  std::atomic<int64_t> head{1};
  std::atomic<bool> stop{false};
  std::atomic<int64_t> wrong{0}, hits{0};

  const auto learn = [&](int i) {
    const LeaseCache::PendingRequest request = cache.BeginRequest(keys[i]);
    Identity::Fields fields = FieldsOf("k" + std::to_string(i));
    fields.role = i % 2 == 0 ? "even" : "odd";
    LeaseCache::ServerAnswer answer;
    answer.decision = Decision::kAllowed;
    answer.revision = head.load();
    fields.secret_version = static_cast<int>(answer.revision);  // For the checker.
    answer.identity = Identity(fields);
    answer.lease_remaining = absl::Seconds(60);
    answer.history = kHistory;
    cache.Insert(request, answer, {});
  };
  const auto read = [&](uint64_t seed) {
    std::vector<Identity> kept(40);
    for (uint64_t n = seed; !stop.load(); n = n * 6364136223846793005u + 1442695040888963407u) {
      const auto i = static_cast<size_t>(n >> 33) % kKeys;
      const int64_t dead_below = revoked[i].load();
      std::optional<LeaseCache::Hit> hit = cache.Find(keys[i], {});
      if (!hit.has_value()) continue;
      ++hits;
      if (hit->identity.key_id() != KidOf("k" + std::to_string(i)) || hit->identity.secret_version() < dead_below) {
        ++wrong;
      }
      kept[(n >> 20) % kept.size()] = std::move(hit->identity);
    }
  };
  std::vector<std::thread> threads;
  threads.emplace_back(read, 1);
  threads.emplace_back(read, 2);
  threads.emplace_back([&] {
    for (uint64_t n = 3; !stop.load(); n = n * 6364136223846793005u + 1442695040888963407u) {
      learn(static_cast<int>((n >> 33) % kKeys));
    }
  });
  for (int round = 0; round < kRounds || (hits.load() < kHits && round < kMostRounds); ++round) {
    const int64_t revision = head.load() + 1;
    LeaseCache::Invalidation what{.revision = At(revision)};
    std::vector<int> dead;
    for (int i = 0; i < kKeys; ++i) {
      if (round % 7 == 0 ? i % 2 == round % 2 : i == round % kKeys) dead.push_back(i);
    }
    if (round % 7 == 0) {
      what.roles = {round % 2 == 0 ? "organizations/acme/roles/even" : "organizations/acme/roles/odd"};
    } else {
      what.key_ids = {KidOf("k" + std::to_string(dead.front()))};
    }
    head.store(revision);
    cache.Invalidate(stream, what);
    cache.Pong(stream, clock.BootNow(), At(revision), absl::Seconds(60), kHistory);
    for (const int i : dead) revoked[i].store(revision);
    learn(round % kKeys);
  }
  stop.store(true);
  for (std::thread& thread : threads) thread.join();
  EXPECT_GE(hits.load(), kHits);
  EXPECT_EQ(wrong.load(), 0);
}

}  // namespace
}  // namespace latchkey::client
