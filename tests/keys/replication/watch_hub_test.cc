#include "server/keys/replication/watch_hub.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "tests/support/status_matchers.h"

namespace latchkey::keys {
namespace {

using ::latchkey::testing::HasReason;
using ::latchkey::testing::IsOk;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr size_t kAll = 1'000'000;

LogPosition At(int64_t rev, char history = 'a') {
  return {rev, absl::StrCat(absl::StrFormat("%07d", rev % 10'000'000), std::string(25, history))};
}
core::RevisionToken TokenAt(int64_t rev, char history = 'a') {
  return core::RevisionToken::Of(rev, At(rev, history).chain);
}

Change KeyChange(const std::string& organization, const std::string& kid) {
  Change change;
  change.key.emplace();
  change.key->organization = organization;
  change.key->kid = kid;
  return change;
}
Change RoleChange(const std::string& organization, const std::string& id) {
  Change change;
  change.role.emplace();
  change.role->organization = organization;
  change.role->id = id;
  return change;
}
Change OrganizationChange(const std::string& id) {
  Change change;
  change.organization.emplace();
  change.organization->id = id;
  return change;
}
Change SettingsChange() {
  Change change;
  change.settings.emplace();
  return change;
}

// A row in words: "7 key acme/k1".
std::string Describe(const Invalidation& row) {
  const char* const kind = row.kind == Invalidation::Kind::kKey    ? "key"
                           : row.kind == Invalidation::Kind::kRole ? "role"
                                                                   : "organization";
  EXPECT_EQ(row.revision, TokenAt(row.revision.revision));
  return absl::StrCat(row.revision.revision, " ", kind, " ", row.organization, "/", row.id);
}
std::vector<std::string> Drain(WatchHub::Stream& stream, size_t limit = kAll) {
  std::vector<std::string> rows;
  for (const Invalidation& row : stream.Take(limit)) rows.push_back(Describe(row));
  return rows;
}

WatchHub::Subscription MustSubscribe(WatchHub& hub, std::vector<std::string> organizations = {},
                                     core::RevisionToken resume = {}, std::function<void()> wake = nullptr) {
  auto subscription = hub.Subscribe(std::move(organizations), resume, std::move(wake));
  EXPECT_THAT(subscription, IsOk());
  return *std::move(subscription);
}

TEST(WatchHub, AStreamHearsEveryChangeAfterItsStartInOrder) {
  WatchHub hub;
  hub.Start(At(5));
  hub.Publish(At(6), KeyChange("acme", "before"));
  const WatchHub::Subscription all = MustSubscribe(hub);
  EXPECT_EQ(all.from, TokenAt(6));
  EXPECT_FALSE(all.resumed);
  hub.Publish(At(7), KeyChange("acme", "k1"));
  hub.Publish(At(8), RoleChange("acme", "deployer"));
  hub.Publish(At(9), OrganizationChange("other"));
  hub.Publish(At(10), KeyChange("other", "k2"));
  EXPECT_EQ(hub.position(), TokenAt(10));
  EXPECT_THAT(Drain(*all.stream, 1), ElementsAre("7 key acme/k1"));
  EXPECT_THAT(Drain(*all.stream), ElementsAre("8 role acme/deployer", "9 organization other/", "10 key other/k2"));
  EXPECT_THAT(Drain(*all.stream), IsEmpty());
  EXPECT_THAT(all.stream->ended(), IsOk());
}

TEST(WatchHub, AStreamHearsOfItsOrganizationsOnlyAndNobodyOfSettings) {
  WatchHub hub;
  hub.Start(At(1));
  const WatchHub::Subscription all = MustSubscribe(hub);
  const WatchHub::Subscription two = MustSubscribe(hub, {"zeta", "acme"});
  const WatchHub::Subscription none = MustSubscribe(hub, {"nobody"});
  hub.Publish(At(2), KeyChange("acme", "k1"));
  hub.Publish(At(3), KeyChange("other", "k2"));
  hub.Publish(At(4), SettingsChange());
  hub.Publish(At(5), RoleChange("zeta", "deployer"));
  hub.Publish(At(6), OrganizationChange("other"));
  hub.Publish(At(7), OrganizationChange("acme"));
  EXPECT_THAT(Drain(*two.stream), ElementsAre("2 key acme/k1", "5 role zeta/deployer", "7 organization acme/"));
  EXPECT_THAT(Drain(*all.stream), ElementsAre("2 key acme/k1", "3 key other/k2", "5 role zeta/deployer",
                                              "6 organization other/", "7 organization acme/"));
  EXPECT_THAT(Drain(*none.stream), IsEmpty());
}

TEST(WatchHub, AStreamThatDoesNotKeepUpIsEndedAndNeverThinned) {
  WatchHub hub({.queue = 3, .history = 100});
  hub.Start(At(1));
  int slow_wakes = 0;
  const WatchHub::Subscription slow = MustSubscribe(hub, {}, {}, [&slow_wakes] { ++slow_wakes; });
  const WatchHub::Subscription quick = MustSubscribe(hub);
  for (int64_t rev = 2; rev <= 4; ++rev) {
    hub.Publish(At(rev), KeyChange("acme", "k"));
    EXPECT_EQ(Drain(*quick.stream).size(), 1u);
    quick.stream->Acknowledge(rev);
  }
  EXPECT_THAT(slow.stream->ended(), IsOk());
  EXPECT_EQ(slow_wakes, 1);
  hub.Publish(At(5), KeyChange("acme", "k"));
  EXPECT_THAT(slow.stream->ended(), HasReason("WATCH_ENDED"));
  EXPECT_EQ(slow_wakes, 2);
  EXPECT_THAT(Drain(*slow.stream), IsEmpty());
  hub.Publish(At(6), KeyChange("acme", "k"));
  EXPECT_THAT(Drain(*slow.stream), IsEmpty());
  EXPECT_EQ(slow_wakes, 2);
  EXPECT_THAT(Drain(*quick.stream), ElementsAre("5 key acme/k", "6 key acme/k"));
  EXPECT_THAT(quick.stream->ended(), IsOk());
  EXPECT_EQ(hub.stream_count(), 1u);
}

TEST(WatchHub, AResumedStreamBeginsWithExactlyWhatItMissed) {
  WatchHub hub;
  hub.Start(At(10));
  hub.Publish(At(11), KeyChange("acme", "k1"));
  hub.Publish(At(12), KeyChange("other", "k2"));
  hub.Publish(At(13), SettingsChange());
  hub.Publish(At(14), KeyChange("acme", "k3"));

  const WatchHub::Subscription acme = MustSubscribe(hub, {"acme"}, TokenAt(11));
  EXPECT_TRUE(acme.resumed);
  EXPECT_EQ(acme.from, TokenAt(11));
  const WatchHub::Subscription from_start = MustSubscribe(hub, {}, TokenAt(10));
  EXPECT_TRUE(from_start.resumed);
  const WatchHub::Subscription at_settings = MustSubscribe(hub, {}, TokenAt(13));
  EXPECT_TRUE(at_settings.resumed);
  const WatchHub::Subscription at_head = MustSubscribe(hub, {}, TokenAt(14));
  EXPECT_TRUE(at_head.resumed);
  hub.Publish(At(15), KeyChange("acme", "k4"));
  EXPECT_THAT(Drain(*acme.stream), ElementsAre("14 key acme/k3", "15 key acme/k4"));
  EXPECT_THAT(Drain(*from_start.stream),
              ElementsAre("11 key acme/k1", "12 key other/k2", "14 key acme/k3", "15 key acme/k4"));
  EXPECT_THAT(Drain(*at_settings.stream), ElementsAre("14 key acme/k3", "15 key acme/k4"));
  EXPECT_THAT(Drain(*at_head.stream), ElementsAre("15 key acme/k4"));
}

TEST(WatchHub, AResumeThatIsNotOfThisHistoryOrNotWhollyKnownIsRefused) {
  WatchHub hub({.queue = 100, .history = 3});
  hub.Start(At(10));
  for (int64_t rev = 11; rev <= 16; ++rev) hub.Publish(At(rev), KeyChange("acme", "k"));
  const auto resumes = [&hub](const core::RevisionToken& resume) {
    const WatchHub::Subscription subscription = MustSubscribe(hub, {}, resume);
    if (!subscription.resumed) {
      EXPECT_EQ(subscription.from, TokenAt(16));
      EXPECT_THAT(Drain(*subscription.stream), IsEmpty());
    }
    return subscription.resumed;
  };
  EXPECT_TRUE(resumes(TokenAt(13)));  // Three rows after it.
  EXPECT_FALSE(resumes(TokenAt(12)));
  EXPECT_FALSE(resumes(TokenAt(14, 'b')));
  EXPECT_FALSE(resumes(TokenAt(16, 'b')));
  EXPECT_FALSE(resumes(TokenAt(17)));
  EXPECT_FALSE(resumes({}));
}

TEST(WatchHub, AResumeOverMoreThanAQueueHoldsIsRefused) {
  WatchHub hub({.queue = 2, .history = 100});
  hub.Start(At(1));
  for (int64_t rev = 2; rev <= 4; ++rev) hub.Publish(At(rev), KeyChange("acme", "k"));
  hub.Publish(At(5), KeyChange("other", "k"));
  EXPECT_FALSE(MustSubscribe(hub, {}, TokenAt(1)).resumed);
  EXPECT_FALSE(MustSubscribe(hub, {"acme"}, TokenAt(1)).resumed);
  EXPECT_TRUE(MustSubscribe(hub, {"acme"}, TokenAt(2)).resumed);
  EXPECT_TRUE(MustSubscribe(hub, {"other"}, TokenAt(1)).resumed);
}

TEST(WatchHub, EndAllEndsEveryStreamAndNoneBeginsBeforeStart) {
  WatchHub hub;
  EXPECT_THAT(hub.Subscribe({}, {}, nullptr), HasReason("WATCH_ENDED"));
  hub.Start(At(1));
  int wakes = 0;
  const WatchHub::Subscription first = MustSubscribe(hub, {}, {}, [&wakes] { ++wakes; });
  const WatchHub::Subscription second = MustSubscribe(hub, {"acme"}, {}, [&wakes] { ++wakes; });
  hub.Publish(At(2), KeyChange("other", "k"));
  EXPECT_EQ(wakes, 1);
  hub.EndAll("the history was rewritten");
  EXPECT_EQ(wakes, 3);
  for (const WatchHub::Subscription* subscription : {&first, &second}) {
    EXPECT_THAT(subscription->stream->ended(), HasReason("WATCH_ENDED"));
    EXPECT_THAT(Drain(*subscription->stream), IsEmpty());
  }
  EXPECT_EQ(hub.stream_count(), 0u);
  EXPECT_EQ(hub.position(), core::RevisionToken());
  EXPECT_THAT(hub.Subscribe({}, TokenAt(2), nullptr), HasReason("WATCH_ENDED"));

  hub.Start(At(2, 'b'));
  hub.Publish(At(3, 'b'), KeyChange("acme", "k"));
  EXPECT_THAT(first.stream->Take(kAll), IsEmpty());
  EXPECT_EQ(wakes, 3);
  EXPECT_FALSE(MustSubscribe(hub, {}, TokenAt(2)).resumed);
  EXPECT_FALSE(MustSubscribe(hub, {}, TokenAt(1)).resumed);
  EXPECT_TRUE(MustSubscribe(hub, {}, TokenAt(2, 'b')).resumed);
}

TEST(WatchHub, NothingResumesFromBeforeAnEndOfAll) {
  WatchHub hub;
  hub.Start(At(1));
  hub.Publish(At(2), KeyChange("acme", "k1"));
  hub.Publish(At(3), KeyChange("acme", "k2"));
  hub.EndAll("the database failed over");
  hub.Start(At(3));
  EXPECT_FALSE(MustSubscribe(hub, {}, TokenAt(2)).resumed);
  EXPECT_TRUE(MustSubscribe(hub, {}, TokenAt(3)).resumed);
}

TEST(WatchHub, AStartWhereTheHistoryEndsKeepsTheStreamsAndAnyOtherEndsThem) {
  WatchHub hub;
  hub.Start(At(3));
  const WatchHub::Subscription open = MustSubscribe(hub);
  hub.Start(At(3));  // Nothing happened.
  EXPECT_THAT(open.stream->ended(), IsOk());
  hub.Start(At(7));  // Rows between are not known.
  EXPECT_THAT(open.stream->ended(), HasReason("WATCH_ENDED"));
  EXPECT_FALSE(MustSubscribe(hub, {}, TokenAt(3)).resumed);
}

TEST(WatchHub, ARowThatIsNotTheNextEndsEveryStream) {
  WatchHub hub;
  hub.Start(At(1));
  const WatchHub::Subscription open = MustSubscribe(hub);
  hub.Publish(At(3), KeyChange("acme", "k"));
  EXPECT_THAT(open.stream->ended(), HasReason("WATCH_ENDED"));
  EXPECT_THAT(hub.Subscribe({}, {}, nullptr), HasReason("WATCH_ENDED"));
  hub.Publish(At(2), KeyChange("acme", "k"));  // Before Start: ignored.
  hub.Start(At(4));
  EXPECT_EQ(MustSubscribe(hub).from, TokenAt(4));
}

TEST(WatchHub, AWakeComesOnceUntilTheNextTakeAndMayUseTheHub) {
  WatchHub hub;
  hub.Start(At(1));
  int wakes = 0;
  size_t streams = 0;
  const WatchHub::Subscription subscription = MustSubscribe(hub, {}, {}, [&] {
    ++wakes;
    streams = hub.stream_count();
  });
  hub.Publish(At(2), SettingsChange());
  EXPECT_EQ(wakes, 0);
  hub.Publish(At(3), KeyChange("acme", "k"));
  hub.Publish(At(4), KeyChange("acme", "k"));
  EXPECT_EQ(wakes, 1);
  EXPECT_EQ(streams, 1u);
  EXPECT_EQ(Drain(*subscription.stream, 1).size(), 1u);
  hub.Publish(At(5), KeyChange("acme", "k"));
  EXPECT_EQ(wakes, 2);
}

TEST(WatchHub, AStreamMayBeDestroyedFromItsOwnWake) {
  WatchHub hub;
  hub.Start(At(1));
  auto owner = std::make_shared<std::shared_ptr<WatchHub::Stream>>();
  *owner = MustSubscribe(hub, {}, {}, [owner] { owner->reset(); }).stream;
  hub.Publish(At(2), KeyChange("acme", "k"));
  EXPECT_EQ(*owner, nullptr);
  EXPECT_EQ(hub.stream_count(), 0u);
}

// What clients have acknowledged, in words: "12" = everything up to there, "12 acme:10" = of acme up to 10 only.
std::string AcknowledgedIn(WatchHub& hub, int64_t applied, base::BootTime now = {}) {
  const storage::Acknowledgements all = hub.AcknowledgedBy(applied, now);
  std::string text = absl::StrCat(all.others);
  for (const auto& [organization, revision] : all.behind) absl::StrAppend(&text, " ", organization, ":", revision);
  return text;
}

TEST(WatchHub, WhatIsAcknowledgedIsTheOldestOfTheOpenStreams) {
  WatchHub hub({.queue = 10, .history = 100});
  hub.Start(At(10));
  EXPECT_EQ(AcknowledgedIn(hub, 12), "12");
  WatchHub::Subscription first = MustSubscribe(hub);
  hub.Publish(At(11), KeyChange("acme", "k"));
  hub.Publish(At(12), KeyChange("acme", "k"));
  EXPECT_EQ(AcknowledgedIn(hub, 12), "12 acme:10");
  WatchHub::Subscription second = MustSubscribe(hub);
  EXPECT_EQ(AcknowledgedIn(hub, 12), "12 acme:10");
  first.stream->Acknowledge(11);
  first.stream->Acknowledge(9);
  EXPECT_EQ(AcknowledgedIn(hub, 12), "12 acme:11");
  first.stream->Acknowledge(12);
  EXPECT_EQ(AcknowledgedIn(hub, 12), "12");
  {
    const WatchHub::Subscription resumed = MustSubscribe(hub, {}, TokenAt(11));
    EXPECT_EQ(AcknowledgedIn(hub, 12), "12 acme:11");
    const WatchHub::Subscription refused = MustSubscribe(hub, {}, TokenAt(11, 'b'));
    EXPECT_EQ(AcknowledgedIn(hub, 12), "0");  // Nobody knows what it believes.
    refused.stream->Acknowledge(11);          // Of before its stream.
    EXPECT_EQ(AcknowledgedIn(hub, 12), "0");
    refused.stream->Acknowledge(12);
    EXPECT_EQ(AcknowledgedIn(hub, 12), "12 acme:11");
    const WatchHub::Subscription confined = MustSubscribe(hub, {"beta", "gamma"}, TokenAt(11, 'b'));
    EXPECT_EQ(AcknowledgedIn(hub, 12), "12 acme:11 beta:0 gamma:0");
  }
  EXPECT_EQ(AcknowledgedIn(hub, 12), "12");
  hub.EndAll("the history was rewritten");
  EXPECT_EQ(AcknowledgedIn(hub, 20), "20");
}

TEST(WatchHub, AStreamCountsAsHavingAcknowledgedWhatItDoesNotWant) {
  WatchHub hub;
  hub.Start(At(10));
  const WatchHub::Subscription silent = MustSubscribe(hub, {"acme"});
  const WatchHub::Subscription two = MustSubscribe(hub, {"acme", "beta"});
  for (int64_t rev = 11; rev <= 20; ++rev) hub.Publish(At(rev), KeyChange("gamma", "k"));
  EXPECT_EQ(AcknowledgedIn(hub, 20), "20");
  hub.Publish(At(21), KeyChange("acme", "k"));
  hub.Publish(At(22), KeyChange("gamma", "k"));
  hub.Publish(At(23), SettingsChange());
  two.stream->Acknowledge(23);
  EXPECT_EQ(AcknowledgedIn(hub, 23), "23 acme:20");
  EXPECT_EQ(Drain(*silent.stream).size(), 1u);
  EXPECT_EQ(AcknowledgedIn(hub, 23), "23 acme:20") << "what was written is not acknowledged";
}

TEST(WatchHub, AStreamThatAcknowledgesNothingIsEndedWhenItOwesAsMuchAsAQueueHolds) {
  WatchHub hub({.queue = 3, .history = 100});
  hub.Start(At(1));
  const WatchHub::Subscription silent = MustSubscribe(hub);
  for (int64_t rev = 2; rev <= 4; ++rev) {
    hub.Publish(At(rev), KeyChange("acme", "k"));
    EXPECT_EQ(Drain(*silent.stream).size(), 1u);
  }
  EXPECT_THAT(silent.stream->ended(), IsOk());
  hub.Publish(At(5), KeyChange("acme", "k"));
  EXPECT_THAT(silent.stream->ended(), HasReason("WATCH_ENDED"));
}

TEST(WatchHub, ManyOrganizationsThatAreBehindAreAsOne) {
  WatchHub hub;
  hub.Start(At(0));
  const WatchHub::Subscription all = MustSubscribe(hub);
  for (int64_t rev = 1; rev <= 256; ++rev) hub.Publish(At(rev), KeyChange(absl::StrCat("o", rev), "k"));
  EXPECT_EQ(hub.AcknowledgedBy(300, {}).behind.size(), 256u);
  EXPECT_EQ(hub.AcknowledgedBy(300, {}).others, 300);
  hub.Publish(At(257), KeyChange("one-more", "k"));
  EXPECT_EQ(AcknowledgedIn(hub, 300), "0");
  all.stream->Acknowledge(3);
  EXPECT_EQ(hub.AcknowledgedBy(300, {}).others, 300);
}

TEST(WatchHub, AClientWhoseStreamIsGoneCountsUntilItsLeaseIsOver) {
  WatchHub hub({.queue = 1, .history = 100});
  hub.Start(At(10));
  const base::BootTime over = base::BootTime::FromNanoseconds(1000);
  const base::BootTime before = base::BootTime::FromNanoseconds(999);
  {
    const WatchHub::Subscription left = MustSubscribe(hub);
    EXPECT_TRUE(left.stream->Grant(over));
    EXPECT_TRUE(left.stream->Grant(base::BootTime::FromNanoseconds(500)));  // Never goes back.
  }
  const WatchHub::Subscription slow = MustSubscribe(hub);
  EXPECT_TRUE(slow.stream->Grant(over));
  hub.Publish(At(11), KeyChange("acme", "k"));
  hub.Publish(At(12), KeyChange("acme", "k"));
  ASSERT_FALSE(slow.stream->ended().ok());  // Its queue was full.
  EXPECT_EQ(hub.AcknowledgedBy(12, before).oldest(), 10);
  EXPECT_EQ(hub.AcknowledgedBy(12, over).oldest(), 12);

  const WatchHub::Subscription open = MustSubscribe(hub);
  open.stream->Acknowledge(12);
  EXPECT_TRUE(open.stream->Grant(over));
  hub.EndAll("the history was rewritten");
  EXPECT_EQ(hub.AcknowledgedBy(12, before).oldest(), 0);  // What it acknowledged was of another history.
  EXPECT_EQ(hub.AcknowledgedBy(12, over).oldest(), 12);
}

TEST(WatchHub, AStreamThatHasEndedLendsNoTimeThatNobodyWouldWaitFor) {
  WatchHub hub({.queue = 1, .history = 100});
  hub.Start(At(10));
  const base::BootTime noted = base::BootTime::FromNanoseconds(1000);
  const WatchHub::Subscription slow = MustSubscribe(hub);
  EXPECT_TRUE(slow.stream->Grant(noted));
  // Whoever writes the Pong has looked at ended() by now.
  hub.Publish(At(11), KeyChange("acme", "k"));
  hub.Publish(At(12), KeyChange("acme", "k"));
  EXPECT_FALSE(slow.stream->Grant(base::BootTime::FromNanoseconds(2000)));
  EXPECT_EQ(hub.AcknowledgedBy(12, noted).oldest(), 12);
}

TEST(WatchHub, StreamsThatComeAndGoUnderTheFollowerMissNothing) {
  WatchHub hub;
  hub.Start(At(1));
  constexpr int64_t kLast = 5000;
  std::atomic<int64_t> wakes{0};
  std::atomic<int64_t> wrong{0};
  std::atomic<int> finished{0};
  std::atomic<bool> all_published{false};
  std::vector<std::thread> clients;
  for (int client = 0; client < 3; ++client) {
    clients.emplace_back([&] {
      core::RevisionToken seen;
      while (seen.revision < kLast) {
        const bool nothing_more_comes = all_published;
        const int64_t before = seen.revision;
        auto subscription = hub.Subscribe({}, seen, [&wakes] { wakes.fetch_add(1); });
        if (!subscription.ok() || subscription->resumed != (seen.revision > 0)) {
          wrong.fetch_add(1);
          break;
        }
        seen = subscription->from;
        for (int take = 0; take < 20; ++take) {
          for (const Invalidation& row : subscription->stream->Take(7)) {
            if (row.revision != TokenAt(seen.revision + 1)) wrong.fetch_add(1);
            seen = row.revision;
          }
          subscription->stream->Acknowledge(seen.revision);
        }
        if (!subscription->stream->ended().ok()) wrong.fetch_add(1);
        if (nothing_more_comes && seen.revision <= before) {
          wrong.fetch_add(1);  // The last rows are lost.
          break;
        }
      }
      finished.fetch_add(1);
    });
  }
  for (int64_t rev = 2; rev <= kLast; ++rev) {
    hub.Publish(At(rev), KeyChange("acme", "k"));
    if (hub.AcknowledgedBy(rev, {}).oldest() > rev) wrong.fetch_add(1);
  }
  all_published = true;
  for (std::thread& client : clients) client.join();
  EXPECT_EQ(wrong.load(), 0);
  EXPECT_EQ(finished.load(), 3);
  EXPECT_EQ(hub.stream_count(), 0u);
}

}  // namespace
}  // namespace latchkey::keys
