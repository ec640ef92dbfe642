#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "client/src/cache/lease_cache.h"
#include "tests/client/src/cache/lease_cache_fixture.h"

// Answers, Hellos and Pongs of several histories, and of servers that name none.
namespace latchkey::client {
namespace {

// The server may not know that its rows before were lost; a client does.
TEST_F(LeaseCacheTest, NothingIsKeptWhenAStreamOfAnotherHistoryResumes) {
  for (const core::HistoryId history : {kOtherHistory, core::kNoHistory}) {
    OpenSettledStream(10);
    Pong();
    Insert("a", Allowed("a"));
    InvalidateKey("b", 12);
    stream = cache.BeginStream();
    EXPECT_FALSE(cache.Hello(stream, At(10), true, kL, history));
    EXPECT_EQ(cache.size(), 0u);
    EXPECT_EQ(cache.lease_until(), core::BootTime::Never());
    EXPECT_EQ(cache.Applied(), At(10));
    LeaseCache::ServerAnswer answer = Allowed("b", 11);
    answer.history = history;
    EXPECT_EQ(Insert("b", answer)->decision, Decision::kAllowed) << "12 is no number of this history";
  }
}

TEST_F(LeaseCacheTest, NothingIsKeptOfAHistoryThatNoHelloHasNamed) {
  for (int i = 0; i < 2; ++i) {
    stream = cache.BeginStream();
    EXPECT_FALSE(cache.Hello(stream, At(10), true, kL));
    Insert("a", Allowed("a"));
    EXPECT_EQ(cache.size(), 1u);
  }
}

TEST_F(LeaseCacheTest, PongOfAnotherHistoryLendsNothingAndEndsTheStream) {
  OpenSettledStream(10);
  EXPECT_FALSE(cache.Pong(stream, clock.BootNow(), At(11), kL, kOtherHistory));
  EXPECT_FALSE(cache.Pong(stream, clock.BootNow(), At(11), kL, core::kNoHistory));
  EXPECT_EQ(cache.lease_until(), core::BootTime::Never());
  EXPECT_EQ(cache.Applied(), At(10));
  EXPECT_TRUE(cache.Pong(stream, clock.BootNow(), At(11), kL, kHistory));
  EXPECT_EQ(cache.lease_until(), clock.BootNow() + kL);
}

// A server that is still in the history before, whose numbers mean nothing here.
TEST_F(LeaseCacheTest, AnswerOfAnotherHistoryIsBelievedAndNeverStored) {
  OpenSettledStream(10);
  Pong();
  Insert("a", Allowed("a"));
  InvalidateKey("b", 12);
  for (const int64_t revision : {9, 11, 15}) {
    LeaseCache::ServerAnswer answer = Allowed("b", revision);
    answer.history = kOtherHistory;
    EXPECT_EQ(Insert("b", answer)->decision, Decision::kAllowed);
    answer = Denied(Decision::kNotFound, revision);
    answer.history = kOtherHistory;
    EXPECT_EQ(Insert("c", answer)->decision, Decision::kNotFound);
  }
  EXPECT_EQ(cache.size(), 1u);
  EXPECT_EQ(cache.negative_count(), 0u);
  const LeaseCache::PendingRequest request = cache.BeginRequest(KeyOf("b"));
  LeaseCache::ServerAnswer answer = Allowed("b", 15);
  answer.history = kOtherHistory;
  clock.Advance(kL);
  EXPECT_FALSE(cache.Insert(request, answer, {}).has_value()) << "its lease is over";
}

TEST_F(LeaseCacheTest, AnswerThatProvesItsHistoryIsRememberedAtOnce) {
  stream = cache.BeginStream();
  cache.Hello(stream, At(10), false, kL, kHistory);
  LeaseCache::ServerAnswer answer = Allowed("a");
  answer.history = kHistory;
  answer.lease_remaining = absl::Seconds(1);
  Insert("a", answer);
  clock.Advance(absl::Seconds(2));
  Pong();
  EXPECT_EQ(Find("a"), Decision::kAllowed);
}

// It is behind the server of before, in whose stream the client has acknowledged more.
TEST_F(LeaseCacheTest, WhatWasHeardIsNotForgottenAtAHelloOfTheSameHistory) {
  OpenSettledStream(10);
  Pong();
  Insert("x", Allowed("x"));
  InvalidateKey("a", 12);
  Pong(12);
  stream = cache.BeginStream();
  EXPECT_FALSE(cache.Hello(stream, At(11), false, kL, kHistory));
  EXPECT_EQ(cache.size(), 0u);
  EXPECT_EQ(cache.lease_until(), core::BootTime::Never());
  EXPECT_FALSE(Insert("a", Allowed("a", 11)).has_value());
  EXPECT_TRUE(Insert("b", Allowed("b", 11)).has_value());
  EXPECT_EQ(cache.Applied(), At(12)) << "whoever is asked again must know it";
  EXPECT_EQ(cache.ResumeFrom(), At(11));
  EXPECT_TRUE(Insert("a", Allowed("a", 12)).has_value());
}

TEST_F(LeaseCacheTest, RevisionsOfAnotherHistoryDoNotOutliveIt) {
  OpenSettledStream(100);
  Insert("a", Allowed("a", 100));
  cache.Invalidate(stream, {.revision = At(120),
                            .key_ids = {KidOf("a")},
                            .organizations = {"acme"},
                            .roles = {"organizations/acme/roles/editor"},
                            .all = true});
  OpenSettledStream(50, kOtherHistory);
  Pong(50, kL, kOtherHistory);
  EXPECT_EQ(cache.Applied(), At(50));
  Insert("a", Allowed("a", 50));
  EXPECT_EQ(Find("a"), Decision::kAllowed);
}

TEST_F(LeaseCacheTest, ForAWhileAfterHelloAnEntryThatProvesNothingLastsNoLongerThanItsAnswer) {
  stream = cache.BeginStream();
  cache.Hello(stream, At(10), false, kL, kHistory);
  LeaseCache::ServerAnswer answer = Allowed("a");
  answer.lease_remaining = absl::Seconds(2);
  Insert("a", answer);
  clock.Advance(absl::Seconds(2) - absl::Nanoseconds(1));
  Pong();
  EXPECT_EQ(Find("a"), Decision::kAllowed);
  clock.Advance(absl::Nanoseconds(1));
  EXPECT_EQ(Find("a"), Decision::kUnspecified);
  clock.Advance(absl::Seconds(3.02) - absl::Nanoseconds(1));  // L·(1 + 4ρ) since Hello, less one.
  Insert(
      "b", answer = [&] {
        auto f = Allowed("b");
        f.lease_remaining = absl::Seconds(1);
        return f;
      }());
  clock.Advance(absl::Nanoseconds(1));
  LeaseCache::ServerAnswer settled = Allowed("c");
  settled.lease_remaining = absl::Seconds(1);
  Insert("c", settled);
  clock.Advance(absl::Seconds(2));
  Pong();
  EXPECT_EQ(Find("b"), Decision::kUnspecified);
  EXPECT_EQ(Find("c"), Decision::kAllowed);
}

// From a server of release 0: it does not say of which history it is.
TEST_F(LeaseCacheTest, ForAWhileAfterAResumeAnEntryThatProvesNothingLastsNoLongerThanItsAnswer) {
  OpenSettledStream(10);
  stream = cache.BeginStream();
  cache.Hello(stream, At(10), true, kL, kHistory);
  Insert("a", Allowed("a", 15));
  clock.Advance(kL - absl::Nanoseconds(1));
  Pong();
  EXPECT_EQ(Find("a"), Decision::kAllowed);
  clock.Advance(absl::Nanoseconds(1));
  EXPECT_EQ(Find("a"), Decision::kUnspecified);
}

}  // namespace
}  // namespace latchkey::client
