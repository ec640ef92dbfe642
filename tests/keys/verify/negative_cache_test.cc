#include "server/keys/verify/negative_cache.h"

#include <gtest/gtest.h>

#include "server/keys/verify/failure_limiter.h"
#include "tests/support/fake_clock.h"

// What the SecretChecker remembers of failures.
namespace latchkey::keys {
namespace {

using ::latchkey::testing::FakeClock;

Proof NumberedName(int number) {
  Proof name{.ring_id = '1'};
  name.digest[0] = static_cast<char>(number);
  name.digest[1] = static_cast<char>(number >> 8);
  name.digest[15] = static_cast<char>(number);
  return name;
}

TEST(NegativeCache, ForgetsTheOldestBeyondItsCapacity) {
  const FakeClock clock;
  NegativeCache wrong(160, absl::Seconds(10));
  for (int i = 0; i < 1600; ++i) wrong.Add(NumberedName(i), clock.BootNow());
  EXPECT_LE(wrong.size(), 160u);
  EXPECT_TRUE(wrong.Contains(NumberedName(1599), clock.BootNow()));
  EXPECT_FALSE(wrong.Contains(NumberedName(0), clock.BootNow()));
}

TEST(NegativeCache, FreesWhatHasExpiredAndKeepsWhatWasAddedAgain) {
  FakeClock clock;
  NegativeCache wrong(160, absl::Seconds(10));
  wrong.Add(NumberedName(0), clock.BootNow());
  wrong.Add(NumberedName(16), clock.BootNow());
  clock.Advance(absl::Seconds(6));
  wrong.Add(NumberedName(0), clock.BootNow());
  clock.Advance(absl::Seconds(6));
  wrong.Add(NumberedName(32), clock.BootNow());
  EXPECT_TRUE(wrong.Contains(NumberedName(0), clock.BootNow()));
  EXPECT_FALSE(wrong.Contains(NumberedName(16), clock.BootNow()));
  EXPECT_EQ(wrong.size(), 2u);
}

TEST(FailureRateLimiter, GiveTokensBackWithTimeAndForgetWhoFailedLongestAgo) {
  FakeClock clock;
  FailureRateLimiter buckets(2, 3, 2);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(buckets.Wait("a", clock.BootNow()), absl::ZeroDuration()) << i;
    buckets.Fail("a", clock.BootNow());
  }
  EXPECT_EQ(buckets.Wait("a", clock.BootNow()), absl::Milliseconds(500));
  for (int i = 0; i < 100; ++i) buckets.Fail("a", clock.BootNow());
  EXPECT_EQ(buckets.Wait("a", clock.BootNow()), absl::Seconds(2)) << "a debt of the burst at most";
  clock.Advance(absl::Seconds(2));
  EXPECT_EQ(buckets.Wait("a", clock.BootNow()), absl::ZeroDuration());
  buckets.Fail("b", clock.BootNow());
  buckets.Fail("a", clock.BootNow());
  buckets.Fail("c", clock.BootNow());
  EXPECT_EQ(buckets.size(), 2u);
  EXPECT_GT(buckets.Wait("a", clock.BootNow()), absl::ZeroDuration()) << "b is forgotten, a failed after it";
}

}  // namespace
}  // namespace latchkey::keys
