#include "server/keys/admin/next_settings.h"

#include <gtest/gtest.h>

namespace latchkey::keys {
namespace {

const absl::Time kNow = absl::FromUnixSeconds(1'700'000'000);

TEST(NextSettings, TheBoundThatHoldsBecomesThePreviousOne) {
  const Settings next = NextSettings({}, absl::Seconds(2), kNow);
  EXPECT_EQ(next.bound, absl::Seconds(2));
  EXPECT_EQ(next.previous_bound, absl::Seconds(5));
  EXPECT_EQ(next.changed_at, kNow);
}

TEST(NextSettings, TheFeatureLevelStaysAsItIs) {
  EXPECT_EQ(NextSettings({.level = 2}, absl::Seconds(9), kNow).level, 2);
}

TEST(NextSettings, ALongBoundIsNotForgottenByASecondChangeWithinADayHoweverLongItsCommitTook) {
  const Settings first =
      NextSettings({.bound = absl::Seconds(60), .previous_bound = absl::Seconds(60)}, absl::Seconds(10), kNow);
  const Settings second = NextSettings(first, absl::Seconds(5), kNow + absl::Seconds(1));
  EXPECT_EQ(second.bound, absl::Seconds(5));
  EXPECT_EQ(second.previous_bound, absl::Seconds(60));
  const absl::Time over = first.changed_at + absl::Hours(24);
  EXPECT_EQ(NextSettings(first, absl::Seconds(5), over - absl::Milliseconds(1)).previous_bound, absl::Seconds(60));
  EXPECT_EQ(NextSettings(first, absl::Seconds(5), over).previous_bound, absl::Seconds(10));
}

}  // namespace
}  // namespace latchkey::keys
