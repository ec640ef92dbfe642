#include "server/base/guarded.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <stdexcept>

#include "absl/status/statusor.h"

namespace latchkey::base {
namespace {

using ::testing::HasSubstr;

TEST(Guarded, ExceptionBecomesInternalWithItsTextForTheLog) {
  const absl::Status known = Guarded([]() -> absl::Status { throw std::runtime_error("boom"); });
  EXPECT_EQ(known.code(), absl::StatusCode::kInternal);
  EXPECT_EQ(errors::NameOf(errors::ReasonOf(known)), "INTERNAL");
  EXPECT_THAT(std::string(known.message()), HasSubstr("boom"));
  const absl::StatusOr<int> unknown = Guarded([]() -> absl::StatusOr<int> { throw 7; });
  EXPECT_EQ(unknown.status().code(), absl::StatusCode::kInternal);
  EXPECT_EQ(Guarded([]() -> absl::StatusOr<int> { return 7; }).value(), 7);
}

}  // namespace
}  // namespace latchkey::base
