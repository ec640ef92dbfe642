#include "server/base/line_limit.h"

#include <gtest/gtest.h>

#include <optional>

#include "absl/time/time.h"

namespace latchkey::base {
namespace {

TEST(LineLimit, GrantsABurstThenTheRateAndCountsWhatItLeavesOut) {
  BootTime now = SystemClock().BootNow();
  LineLimit lines(2, 3);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(lines.Take(now), 0);
  for (int i = 0; i < 5; ++i) EXPECT_EQ(lines.Take(now), std::nullopt);
  now = now + absl::Milliseconds(499);
  EXPECT_EQ(lines.Take(now), std::nullopt);
  now = now + absl::Milliseconds(2);
  EXPECT_EQ(lines.Take(now), 6);
  now = now + absl::Hours(1);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(lines.Take(now), 0) << "no more than the burst";
  EXPECT_EQ(lines.Take(now), std::nullopt);
}

}  // namespace
}  // namespace latchkey::base
