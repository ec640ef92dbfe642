#include "server/keys/verify/negative_cache.h"

#include <gtest/gtest.h>

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

}  // namespace
}  // namespace latchkey::keys
