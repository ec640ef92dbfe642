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

using ::testing::ElementsAre;

// --- Hits ---

TEST_F(LeaseCacheTest, LearntKeyIsAHitWithItsIdentity) {
  OpenSettledStream();
  Pong();
  Identity::Fields fields = FieldsOf("a");
  fields.labels = {{"team", "web"}, {"env", ""}};
  fields.expires_at = absl::FromUnixSeconds(4'000'000'000);
  fields.allowed_cidrs = {"10.0.0.0/8"};
  Insert("a", AllowedAs(fields));
  const auto hit = cache.Find(KeyOf("a"), {.client_ip = "10.1.2.3"});
  ASSERT_TRUE(hit.has_value());
  EXPECT_EQ(hit->decision, Decision::kAllowed);
  EXPECT_FALSE(hit->in_grace);
  EXPECT_EQ(hit->identity.name(), "organizations/acme/keys/" + KidOf("a"));
  EXPECT_EQ(hit->identity.key_id(), KidOf("a"));
  EXPECT_EQ(hit->identity.organization(), "acme");
  EXPECT_EQ(hit->identity.display_name(), "Key a");
  EXPECT_EQ(hit->identity.role(), "editor");
  EXPECT_THAT(hit->identity.permissions(), ElementsAre("app.read", "app.write"));
  EXPECT_EQ(hit->identity.owner(), "web team");
  EXPECT_EQ(hit->identity.labels(), fields.labels);
  EXPECT_EQ(hit->identity.expires_at(), fields.expires_at);
  EXPECT_EQ(hit->identity.secret_version(), 1);
  EXPECT_THAT(hit->identity.allowed_cidrs(), ElementsAre("10.0.0.0/8"));
}

TEST_F(LeaseCacheTest, LabelInFrontMakesNoDifferenceAndAWrongOneNoHit) {
  OpenSettledStream();
  Pong();
  Insert("a", Allowed("a"));
  EXPECT_TRUE(cache.Find(KeyOf("a", "s", "my_app"), {}).has_value());
  for (const char* front : {"_", "x", "A_", "sixteen_letters__", "a-b_"}) {
    EXPECT_FALSE(cache.Find(front + KeyOf("a"), {}).has_value()) << front;
  }
  EXPECT_FALSE(cache.Find(KeyOf("a").substr(1), {}).has_value());
  EXPECT_FALSE(cache.Find("", {}).has_value());
}

TEST_F(LeaseCacheTest, AnotherSecretOfTheKeyIsNoHit) {
  OpenSettledStream();
  Pong();
  Insert("a", Allowed("a"));
  EXPECT_FALSE(cache.Find(KeyOf("a", "other"), {}).has_value());
}

TEST_F(LeaseCacheTest, PermissionsAreJudgedAtEveryHit) {
  OpenSettledStream();
  Pong();
  Insert("a", Allowed("a"));
  EXPECT_EQ(Find("a", {.required_permissions = {"app.read", "app.write"}}), Decision::kAllowed);
  EXPECT_EQ(Find("a", {.required_permissions = {"app.admin"}}), Decision::kPermissionDenied);
}

TEST_F(LeaseCacheTest, AddressesAreJudgedAtEveryHit) {
  OpenSettledStream();
  Pong();
  Identity::Fields fields = FieldsOf("a");
  fields.allowed_cidrs = {"10.0.0.0/8"};
  LeaseCache::ServerAnswer answer = AllowedAs(fields);
  answer.decision = Decision::kClientNotAllowed;  // What the server says of a question without an address.
  EXPECT_EQ(Insert("a", answer, {.client_ip = "10.0.0.1"})->decision, Decision::kAllowed);
  EXPECT_EQ(Find("a", {.client_ip = "10.9.9.9"}), Decision::kAllowed);
  EXPECT_EQ(Find("a", {.client_ip = "11.0.0.1"}), Decision::kClientNotAllowed);
  EXPECT_EQ(Find("a"), Decision::kClientNotAllowed);
}

// A newer server may know a reason that this build does not.
TEST_F(LeaseCacheTest, ADenialOfTheServersOwnIsNeverTurnedIntoAnAllowance) {
  OpenSettledStream();
  Pong();
  Identity::Fields held = FieldsOf("a");
  held.allowed_cidrs = {"10.0.0.0/8"};
  const VerifyParams params{.required_permissions = {"app.read"}, .client_ip = "10.0.0.1"};
  struct Case {
    Decision decision;
    Identity::Fields fields;
  };
  for (const Case& given : {Case{Decision::kPermissionDenied, FieldsOf("a")}, Case{Decision::kPermissionDenied, held},
                            Case{Decision::kClientNotAllowed, FieldsOf("a")}, Case{Decision::kRateLimited, held}}) {
    Insert("a", AllowedAs(held));
    LeaseCache::ServerAnswer answer = AllowedAs(given.fields);
    answer.decision = given.decision;
    EXPECT_EQ(Insert("a", answer, params)->decision, given.decision);
    EXPECT_EQ(Find("a", params), Decision::kUnspecified) << "the next question is the server's again";
  }
}

TEST_F(LeaseCacheTest, AddressBlockThatCannotBeReadAllowsNobody) {
  OpenSettledStream();
  Pong();
  Identity::Fields fields = FieldsOf("a");
  fields.allowed_cidrs = {"somewhere"};
  EXPECT_EQ(Insert("a", AllowedAs(fields), {.client_ip = "10.0.0.1"})->decision, Decision::kClientNotAllowed);
  EXPECT_EQ(Find("a", {.client_ip = "10.0.0.1"}), Decision::kClientNotAllowed);
}

TEST_F(LeaseCacheTest, KeyIsExpiredOnceItsTimeHasPassedSinceTheQuestion) {
  OpenSettledStream();
  Pong();
  const LeaseCache::PendingRequest request = cache.BeginRequest(KeyOf("a"));
  clock.Advance(absl::Seconds(1));
  LeaseCache::ServerAnswer answer = Allowed("a");
  answer.expires_in = absl::Seconds(3);
  EXPECT_EQ(cache.Insert(request, answer, {})->decision, Decision::kAllowed);
  clock.Advance(absl::Seconds(2) - absl::Nanoseconds(1));
  EXPECT_EQ(Find("a"), Decision::kAllowed);
  clock.Advance(absl::Nanoseconds(1));
  EXPECT_EQ(Find("a", {.required_permissions = {"app.admin"}}), Decision::kExpired);
}

TEST_F(LeaseCacheTest, AnswerThatCameAfterItsKeyExpiredSaysSo) {
  OpenSettledStream();
  Pong();
  const LeaseCache::PendingRequest request = cache.BeginRequest(KeyOf("a"));
  LeaseCache::ServerAnswer answer = Allowed("a");
  answer.expires_in = absl::Seconds(1);
  clock.Advance(absl::Seconds(1));
  EXPECT_EQ(cache.Insert(request, answer, {})->decision, Decision::kExpired);
}

TEST_F(LeaseCacheTest, ShortlyBeforeAFarExpiryTheServerIsAskedAgain) {
  OpenSettledStream();
  LeaseCache::ServerAnswer answer = Allowed("a");
  answer.expires_in = absl::Hours(1000);
  Insert("a", answer);
  clock.Advance(absl::Hours(997));
  Pong();
  EXPECT_EQ(Find("a"), Decision::kAllowed);
  clock.Advance(absl::Hours(1.5));  // A clock that is slow by 1/1000 would allow it for an hour too long.
  Pong();
  EXPECT_EQ(Find("a"), Decision::kUnspecified);
}

TEST_F(LeaseCacheTest, AnswerThatIsKeptOutlivesItsEntry) {
  OpenSettledStream();
  Pong();
  Insert("a", Allowed("a"));
  std::optional<LeaseCache::Hit> hit = cache.Find(KeyOf("a"), {});
  const auto delete_everything_retired = [&] {
    for (int i = 0; i < 1000; ++i) Insert("c", Allowed("c", 12));
  };
  cache.Invalidate(stream, {.revision = At(11), .all = true});
  delete_everything_retired();
  EXPECT_EQ(hit->identity.display_name(), "Key a");
  const Identity copy = hit->identity;
  hit.reset();
  delete_everything_retired();
  EXPECT_EQ(copy.display_name(), "Key a");
  EXPECT_THAT(copy.permissions(), ElementsAre("app.read", "app.write"));
}

TEST_F(LeaseCacheTest, MoreAnswersMayBeKeptThanAThreadHasHolds) {
  OpenSettledStream();
  Pong();
  std::vector<Identity> kept;
  for (int i = 0; i < 200; ++i) {
    const std::string name = "k" + std::to_string(i);
    Insert(name, Allowed(name));
    kept.push_back(cache.Find(KeyOf(name), {})->identity);
  }
  cache.Invalidate(stream, {.revision = At(11), .all = true});
  for (int i = 0; i < 1000; ++i) Insert("c", Allowed("c", 12));
  for (size_t i = 0; i < kept.size(); ++i) EXPECT_EQ(kept[i].display_name(), "Key k" + std::to_string(i));
}

TEST_F(LeaseCacheTest, AnswerMayBeKeptAfterItsThreadAndItsCacheHaveGone) {
  Identity kept;
  {
    LeaseCache other({}, clock);
    const uint64_t first = other.BeginStream();
    other.Hello(first, At(10), false, kL);
    other.Pong(first, clock.BootNow(), At(10), kL);
    other.Insert(other.BeginRequest(KeyOf("a")), Allowed("a"), {});
    std::thread([&] { kept = other.Find(KeyOf("a"), {})->identity; }).join();
  }
  OpenSettledStream();
  for (int i = 0; i < 1000; ++i) Insert("c", Allowed("c"));
  EXPECT_EQ(kept.display_name(), "Key a");
}

// --- The lease ---

TEST_F(LeaseCacheTest, NothingIsAHitWithoutAPong) {
  OpenSettledStream();
  EXPECT_EQ(Insert("a", Allowed("a"))->decision, Decision::kAllowed);
  EXPECT_EQ(cache.size(), 1u);
  EXPECT_EQ(Find("a"), Decision::kUnspecified);
}

TEST_F(LeaseCacheTest, LeaseIsCountedFromTheTimeThatThePingWasSent) {
  OpenSettledStream();
  Insert("a", Allowed("a"));
  const core::BootTime sent = clock.BootNow();
  clock.Advance(absl::Seconds(2));
  cache.Pong(stream, sent, At(10), kL, kHistory);
  EXPECT_EQ(cache.lease_until(), sent + kL);
  clock.Advance(absl::Seconds(3) - absl::Nanoseconds(1));
  EXPECT_EQ(Find("a"), Decision::kAllowed);
  clock.Advance(absl::Nanoseconds(1));
  EXPECT_EQ(Find("a"), Decision::kUnspecified);
}

TEST_F(LeaseCacheTest, LaterPongNeverShortensTheLease) {
  OpenSettledStream();
  Pong();
  const core::BootTime until = cache.lease_until();
  Pong(10, absl::Seconds(1));
  Pong(10, absl::ZeroDuration());
  Pong(10, absl::Seconds(-1));
  EXPECT_EQ(cache.lease_until(), until);
}

TEST_F(LeaseCacheTest, PongBeforeHelloGrantsNothing) {
  stream = cache.BeginStream();
  Pong();
  EXPECT_EQ(cache.lease_until(), core::BootTime::Never());
}

TEST_F(LeaseCacheTest, LeaseLongerThanTheBoundThatHelloToldIsCut) {
  OpenSettledStream();
  for (const absl::Duration remaining : {kL + absl::Nanoseconds(1), absl::InfiniteDuration()}) {
    Pong(10, remaining);
    EXPECT_EQ(cache.lease_until(), clock.BootNow() + kL);
  }
  // Each stream has its own.
  stream = cache.BeginStream();
  cache.Hello(stream, At(10), true, 2 * kL, kHistory);
  Pong(10, absl::InfiniteDuration());
  EXPECT_EQ(cache.lease_until(), clock.BootNow() + 2 * kL);
  clock.Advance(2 * kL);
  stream = cache.BeginStream();
  cache.Hello(stream, At(10), true, absl::Seconds(2), kHistory);
  Pong(10, kL);
  EXPECT_EQ(cache.lease_until(), clock.BootNow() + absl::Seconds(2));
}

TEST_F(LeaseCacheTest, LeaseOfAHelloThatToldNoBoundOrTooLongAOneIsCutAtTheLongestThereIs) {
  for (const absl::Duration bound : {absl::ZeroDuration(), absl::InfiniteDuration()}) {
    stream = cache.BeginStream();
    cache.Hello(stream, At(10), false, bound, kHistory);
    Pong(10, absl::InfiniteDuration());
    EXPECT_EQ(cache.lease_until(), clock.BootNow() + absl::Seconds(60));
  }
}

TEST_F(LeaseCacheTest, LeaseEndsWhenTheCallerIsRefusedAndWhatIsRememberedWaitsForAResume) {
  OpenSettledStream();
  Pong();
  Insert("a", Allowed("a"));
  const uint64_t old = stream;
  stream = cache.BeginStream();
  cache.RefuseCaller(old);
  EXPECT_EQ(Find("a"), Decision::kAllowed) << "an older stream's end";
  cache.RefuseCaller(stream);
  EXPECT_EQ(Find("a"), Decision::kUnspecified);
  EXPECT_EQ(cache.lease_until(), core::BootTime::Never());
  stream = cache.BeginStream();
  EXPECT_TRUE(cache.Hello(stream, At(10), true, kL, kHistory));
  EXPECT_EQ(Find("a"), Decision::kUnspecified) << "not before a Pong";
  Pong();
  EXPECT_EQ(Find("a"), Decision::kAllowed);
}

TEST_F(LeaseCacheTest, LeaseOutlivesItsStreamAndEndsAtAHelloThatDidNotResume) {
  OpenSettledStream();
  Pong();
  Insert("a", Allowed("a"));
  cache.EndStream(stream);
  EXPECT_EQ(Find("a"), Decision::kAllowed);
  stream = cache.BeginStream();
  EXPECT_EQ(Find("a"), Decision::kAllowed);
  cache.Hello(stream, At(10), false, kL, kHistory);
  EXPECT_EQ(cache.lease_until(), core::BootTime::Never());
  EXPECT_EQ(cache.size(), 0u);
  Pong();
  EXPECT_EQ(Find("a"), Decision::kUnspecified);
}

TEST_F(LeaseCacheTest, EverythingIsKeptWhenAStreamResumes) {
  OpenSettledStream();
  Pong();
  Insert("a", Allowed("a"));
  const core::BootTime until = cache.lease_until();
  cache.EndStream(stream);
  stream = cache.BeginStream();
  EXPECT_TRUE(cache.Hello(stream, At(10), true, kL, kHistory));
  EXPECT_EQ(cache.lease_until(), until);
  EXPECT_EQ(Find("a"), Decision::kAllowed);
}

TEST_F(LeaseCacheTest, HelloThatResumesWhatWasNeverAskedDropsEverything) {
  stream = cache.BeginStream();
  cache.Hello(stream, At(10), true, kL);
  EXPECT_EQ(cache.ResumeFrom(), At(10));
  EXPECT_FALSE(Insert("a", Allowed("a", 9)).has_value());
}

TEST_F(LeaseCacheTest, WhatAnOlderStreamSaysIsIgnored) {
  OpenSettledStream();
  Pong();
  Insert("a", Allowed("a"));
  const uint64_t old = stream;
  cache.EndStream(old);
  stream = cache.BeginStream();
  cache.Hello(stream, At(10), true, kL, kHistory);
  const core::BootTime until = cache.lease_until();
  clock.Advance(absl::Seconds(1));
  cache.Hello(old, At(99), false, kL);
  EXPECT_TRUE(cache.Pong(old, clock.BootNow(), At(99), kL, kOtherHistory));
  cache.Invalidate(old, {.revision = At(99), .key_ids = {KidOf("a")}});
  cache.EndStream(old);
  EXPECT_EQ(cache.lease_until(), until);
  EXPECT_EQ(cache.Applied(), At(10));
  EXPECT_EQ(Find("a"), Decision::kAllowed);
  Pong(11);
  EXPECT_EQ(cache.Applied(), At(11));
}

// --- What is stored ---

TEST_F(LeaseCacheTest, NothingIsStoredBeforeHello) {
  stream = cache.BeginStream();
  EXPECT_EQ(Insert("a", Allowed("a"))->decision, Decision::kAllowed);
  EXPECT_EQ(cache.size(), 0u);
}

TEST_F(LeaseCacheTest, NothingIsStoredThatWasAskedWithoutAStreamOrWithinAnother) {
  OpenSettledStream();
  const LeaseCache::PendingRequest before = cache.BeginRequest(KeyOf("a"));
  cache.EndStream(stream);
  const LeaseCache::PendingRequest between = cache.BeginRequest(KeyOf("b"));
  EXPECT_EQ(Insert("c", Allowed("c"))->decision, Decision::kAllowed);
  stream = cache.BeginStream();
  cache.Hello(stream, At(10), true, kL, kHistory);
  EXPECT_EQ(cache.Insert(before, Allowed("a"), {})->decision, Decision::kAllowed);
  EXPECT_EQ(cache.Insert(between, Allowed("b"), {})->decision, Decision::kAllowed);
  EXPECT_EQ(cache.size(), 0u);
  Insert("a", Allowed("a"));
  EXPECT_EQ(cache.size(), 1u);
}

// The client acknowledged what Watch told before, and has forgotten it with everything else at the Hello.
TEST_F(LeaseCacheTest, AnswerFromBelowHelloIsAskedForAgain) {
  OpenSettledStream(8);
  InvalidateKey("a", 9);
  OpenSettledStream(10);
  const LeaseCache::PendingRequest request = cache.BeginRequest(KeyOf("a"));
  for (const LeaseCache::ServerAnswer& old : {Allowed("a", 8), Denied(Decision::kNotFound, 8)}) {
    EXPECT_FALSE(cache.Insert(request, old, {}).has_value());
    EXPECT_TRUE(cache.IsOverriddenByWatch(request, old)) << "nobody would ask for a newer one";
  }
  EXPECT_EQ(cache.size(), 0u);
  EXPECT_EQ(cache.Insert(request, Allowed("a", 10), {})->decision, Decision::kAllowed);
  EXPECT_EQ(cache.size(), 1u);
}

TEST_F(LeaseCacheTest, AnswerIsBelievedOnlyUntilItsLeaseEnds) {
  OpenSettledStream();
  const LeaseCache::PendingRequest request = cache.BeginRequest(KeyOf("a"));
  clock.Advance(kL - absl::Nanoseconds(1));
  EXPECT_TRUE(cache.Insert(request, Allowed("a"), {}).has_value());
  clock.Advance(absl::Nanoseconds(1));
  EXPECT_FALSE(cache.Insert(request, Allowed("a"), {}).has_value());
  EXPECT_FALSE(cache.Insert(request, Denied(Decision::kNotFound), {}).has_value());
}

TEST_F(LeaseCacheTest, LateAnswerIsNotStored) {
  OpenSettledStream();
  const LeaseCache::PendingRequest request = cache.BeginRequest(KeyOf("a"));
  clock.Advance(kL);
  cache.Insert(request, Allowed("a"), {});
  EXPECT_EQ(cache.size(), 0u);
}

TEST_F(LeaseCacheTest, AnswerOlderThanAnInvalidationIsAskedForAgain) {
  OpenSettledStream();
  const LeaseCache::PendingRequest request = cache.BeginRequest(KeyOf("a"));
  InvalidateKey("a", 12);
  EXPECT_FALSE(cache.Insert(request, Allowed("a", 11), {}).has_value());
  EXPECT_FALSE(cache.Insert(request, Denied(Decision::kDisabled, 11), {}).has_value());
  EXPECT_TRUE(cache.Insert(request, Allowed("a", 12), {}).has_value());
  EXPECT_TRUE(Insert("b", Allowed("b", 11)).has_value());
  cache.Invalidate(stream, {.revision = At(13), .roles = {"organizations/acme/roles/editor"}});
  EXPECT_FALSE(Insert("b", Allowed("b", 12)).has_value());
  EXPECT_TRUE(Insert("b", Allowed("b", 13)).has_value());
  cache.Invalidate(stream, {.revision = At(14), .organizations = {"acme"}});
  EXPECT_FALSE(Insert("b", Allowed("b", 13)).has_value());
  cache.Invalidate(stream, {.revision = At(15), .all = true});
  EXPECT_FALSE(Insert("b", Allowed("b", 14)).has_value());
  EXPECT_TRUE(Insert("b", Allowed("b", 15)).has_value());
}

TEST_F(LeaseCacheTest, IdentityOfAnotherKeyIsNotStored) {
  OpenSettledStream();
  Insert("a", Allowed("b"));
  EXPECT_EQ(cache.size(), 0u);
}

TEST_F(LeaseCacheTest, AllowedWithoutAnIdentityIsADenial) {
  OpenSettledStream();
  LeaseCache::ServerAnswer answer = Denied(Decision::kAllowed);
  EXPECT_EQ(Insert("a", answer)->decision, Decision::kUnspecified);
  EXPECT_EQ(cache.size(), 0u);
}

// --- Invalidations ---

TEST_F(LeaseCacheTest, InvalidateRemovesEverySecretOfAKeyAndNoOtherKey) {
  OpenSettledStream();
  Pong();
  cache.Insert(cache.BeginRequest(KeyOf("a", "old")), Allowed("a"), {});
  cache.Insert(cache.BeginRequest(KeyOf("a", "new")), Allowed("a"), {});
  Insert("b", Allowed("b"));
  ASSERT_EQ(cache.size(), 3u);
  InvalidateKey("a", 11);
  EXPECT_EQ(cache.size(), 1u);
  EXPECT_FALSE(cache.Find(KeyOf("a", "old"), {}).has_value());
  EXPECT_FALSE(cache.Find(KeyOf("a", "new"), {}).has_value());
  EXPECT_EQ(Find("b"), Decision::kAllowed);
}

TEST_F(LeaseCacheTest, InvalidateOfARoleEndsItsKeysAndNewAnswersBringTheNewPermissions) {
  OpenSettledStream();
  Pong();
  Insert("a", Allowed("a"));
  Identity::Fields viewer = FieldsOf("b");
  viewer.role = "viewer";
  Insert("b", AllowedAs(viewer));
  cache.Invalidate(stream, {.revision = At(11), .roles = {"organizations/acme/roles/editor"}});
  EXPECT_EQ(Find("a"), Decision::kUnspecified);
  EXPECT_EQ(Find("b"), Decision::kAllowed);
  Identity::Fields narrowed = FieldsOf("a");
  narrowed.permissions = {"app.read"};
  Insert("a", AllowedAs(narrowed, 11));
  EXPECT_EQ(Find("a", {.required_permissions = {"app.read"}}), Decision::kAllowed);
  EXPECT_EQ(Find("a", {.required_permissions = {"app.write"}}), Decision::kPermissionDenied);
}

TEST_F(LeaseCacheTest, InvalidateOfAnOrganizationEndsItsKeysOfEveryRole) {
  OpenSettledStream();
  Pong();
  Insert("a", Allowed("a"));
  Identity::Fields viewer = FieldsOf("b");
  viewer.role = "viewer";
  Insert("b", AllowedAs(viewer));
  Identity::Fields elsewhere = FieldsOf("c");
  elsewhere.organization = "other";
  Insert("c", AllowedAs(elsewhere));
  cache.Invalidate(stream, {.revision = At(11), .organizations = {"acme"}});
  EXPECT_EQ(Find("a"), Decision::kUnspecified);
  EXPECT_EQ(Find("b"), Decision::kUnspecified);
  EXPECT_EQ(Find("c"), Decision::kAllowed);
}

TEST_F(LeaseCacheTest, InvalidateOfAllAndOfARoleWithAnUnreadableNameDropEverything) {
  OpenSettledStream();
  Pong();
  Insert("a", Allowed("a"));
  cache.Invalidate(stream, {.revision = At(11), .all = true});
  EXPECT_EQ(cache.size(), 0u);
  Insert("a", Allowed("a", 11));
  EXPECT_EQ(Find("a"), Decision::kAllowed);
  cache.Invalidate(stream, {.revision = At(12), .roles = {"projects/x"}});
  EXPECT_EQ(Find("a"), Decision::kUnspecified);
}

TEST_F(LeaseCacheTest, ResumeStartsWhereEverythingIsCertainlyApplied) {
  EXPECT_EQ(cache.ResumeFrom(), std::nullopt);
  OpenSettledStream(10);
  EXPECT_EQ(cache.ResumeFrom(), At(10));
  InvalidateKey("a", 12);
  EXPECT_EQ(cache.Applied(), At(12));
  EXPECT_EQ(cache.ResumeFrom(), At(10));  // There may be more of 12.
  InvalidateKey("b", 13);
  EXPECT_EQ(cache.ResumeFrom(), At(12));
  Pong(13);
  EXPECT_EQ(cache.ResumeFrom(), At(13));
}

TEST_F(LeaseCacheTest, PongOfAnOlderRevisionSaysNothingOfALaterOne) {
  OpenSettledStream(10);
  InvalidateKey("a", 11);
  InvalidateKey("b", 12);  // There may be more of 12.
  stream = cache.BeginStream();
  cache.Hello(stream, At(11), true, kL, kHistory);  // A server that is at 11 itself.
  EXPECT_EQ(cache.Applied(), At(11));
  Pong(11);
  EXPECT_EQ(cache.ResumeFrom(), At(11));
  InvalidateKey("b", 12);
  Pong(11);
  EXPECT_EQ(cache.ResumeFrom(), At(11));
  InvalidateKey("c", 12);
  Pong(12);
  EXPECT_EQ(cache.ResumeFrom(), At(12));
}

class FewTombstones : public LeaseCacheTest {
 protected:
  FewTombstones() : LeaseCacheTest({.tombstones = 2}) {}
};

TEST_F(FewTombstones, FloorRisesWhenTheOldestIsForgotten) {
  OpenSettledStream();
  InvalidateKey("a", 11);
  InvalidateKey("b", 12);
  EXPECT_FALSE(Insert("a", Allowed("a", 10)).has_value());
  Insert("x", Allowed("x", 10));
  EXPECT_EQ(cache.size(), 1u);
  cache.Invalidate(stream, {.revision = At(13), .organizations = {"other"}});
  for (const char* name : {"a", "y"}) {
    EXPECT_FALSE(Insert(name, Allowed(name, 10)).has_value()) << "it may have missed what is forgotten";
    EXPECT_TRUE(cache.IsOverriddenByWatch(cache.BeginRequest(KeyOf(name)), Allowed(name, 10)));
  }
  EXPECT_EQ(cache.size(), 1u);
  EXPECT_TRUE(Insert("y", Allowed("y", 11)).has_value());
  EXPECT_EQ(cache.size(), 2u);
}

}  // namespace
}  // namespace latchkey::client
