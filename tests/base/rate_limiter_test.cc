#include "server/base/rate_limiter.h"

#include <gtest/gtest.h>

#include "tests/support/fake_clock.h"

namespace latchkey::base {
namespace {

using ::latchkey::testing::FakeClock;

TEST(RateLimiter, GivesTokensBackWithTimeAndForgetsWhoTookLongestAgo) {
  FakeClock clock;
  RateLimiter buckets(2, 3, 2);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(buckets.Wait("a", clock.BootNow()), absl::ZeroDuration()) << i;
    buckets.Take("a", clock.BootNow());
  }
  EXPECT_EQ(buckets.Wait("a", clock.BootNow()), absl::Milliseconds(500));
  for (int i = 0; i < 100; ++i) buckets.Take("a", clock.BootNow());
  EXPECT_EQ(buckets.Wait("a", clock.BootNow()), absl::Seconds(2)) << "a debt of the burst at most";
  clock.Advance(absl::Seconds(2));
  EXPECT_EQ(buckets.Wait("a", clock.BootNow()), absl::ZeroDuration());
  buckets.Take("b", clock.BootNow());
  buckets.Take("a", clock.BootNow());
  buckets.Take("c", clock.BootNow());
  EXPECT_EQ(buckets.size(), 2u);
  EXPECT_GT(buckets.Wait("a", clock.BootNow()), absl::ZeroDuration()) << "b is forgotten, a took after it";
}

TEST(RateLimiter, TakesATokenOrSaysHowLongToWait) {
  FakeClock clock;
  RateLimiter buckets(2, 1, 2);
  EXPECT_EQ(buckets.TakeOrWait("a", clock.BootNow()), absl::ZeroDuration());
  for (int i = 0; i < 3; ++i) EXPECT_EQ(buckets.TakeOrWait("a", clock.BootNow()), absl::Milliseconds(500)) << i;
  clock.Advance(absl::Milliseconds(500));
  EXPECT_EQ(buckets.TakeOrWait("a", clock.BootNow()), absl::ZeroDuration());
}

}  // namespace
}  // namespace latchkey::base
