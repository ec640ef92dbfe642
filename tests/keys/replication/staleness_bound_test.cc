#include "server/keys/replication/staleness_bound.h"

#include <gtest/gtest.h>

#include "tests/support/fake_clock.h"

namespace latchkey::keys {
namespace {

using ::latchkey::testing::FakeClock;

Settings Of(int64_t bound, int64_t previous) {
  return {.bound = absl::Seconds(bound), .previous_bound = absl::Seconds(previous)};
}

TEST(StalenessBound, IsFiveSecondsBeforeAnySettings) {
  const FakeClock clock;
  EXPECT_EQ(StalenessBound(clock).bound(), absl::Seconds(5));
  EXPECT_EQ(StalenessBound(clock).promised(), absl::Seconds(5));
}

TEST(StalenessBound, LoweredOneIsPromisedOnlyWhenTheOldLeasesAreOver) {
  FakeClock clock;
  StalenessBound bound(clock);
  bound.Note(Of(30, 30));
  clock.Advance(absl::Hours(1));
  bound.Note(Of(5, 30));
  EXPECT_EQ(bound.bound(), absl::Seconds(5));
  EXPECT_EQ(bound.promised(), absl::Seconds(30));
  clock.Advance(core::WithClockError(absl::Seconds(30)) - absl::Milliseconds(1));
  bound.Note(Of(5, 30));  // Seen again, which changes nothing.
  EXPECT_EQ(bound.promised(), absl::Seconds(30));
  clock.Advance(absl::Milliseconds(1));
  EXPECT_EQ(bound.promised(), absl::Seconds(5));
}

TEST(StalenessBound, RaisedOneIsPromisedAtOnce) {
  FakeClock clock;
  StalenessBound bound(clock);
  bound.Note(Of(5, 5));
  bound.Note(Of(60, 5));
  EXPECT_EQ(bound.promised(), absl::Seconds(60));
}

TEST(StalenessBound, WhatWasSeenHereCountsBesideWhatTheRowSays) {
  FakeClock clock;
  StalenessBound bound(clock);
  bound.Note(Of(40, 40));
  clock.Advance(absl::Hours(1));
  bound.Note(Of(5, 5));  // Of another history, which never had 40.
  EXPECT_EQ(bound.promised(), absl::Seconds(40));
}

TEST(StalenessBound, IsRenewedFiveTimesWithinAndEachSecondAtLeast) {
  FakeClock clock;
  StalenessBound bound(clock);
  bound.Note(Of(2, 2));
  EXPECT_EQ(bound.renewal_interval(), absl::Milliseconds(400));
  bound.Note(Of(60, 60));
  EXPECT_EQ(bound.renewal_interval(), absl::Seconds(1));
}

}  // namespace
}  // namespace latchkey::keys
