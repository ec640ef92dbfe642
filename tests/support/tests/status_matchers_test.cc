#include "tests/support/status_matchers.h"

#include <gtest/gtest.h>

namespace latchkey::testing {
namespace {

using ::testing::Eq;
using ::testing::HasSubstr;
using ::testing::Matcher;
using ::testing::Not;
using ::testing::StringMatchResultListener;

template <typename T>
std::string Explain(const Matcher<T>& matcher, const T& value) {
  StringMatchResultListener listener;
  matcher.MatchAndExplain(value, &listener);
  return listener.str();
}

const absl::Status kDenied = errors::RoleExceedsCreator("owner");

TEST(StatusMatchers, OnlyOkIsOk) {
  EXPECT_THAT(absl::OkStatus(), IsOk());
  EXPECT_THAT(absl::StatusOr<int>(3), IsOk());
  EXPECT_THAT(kDenied, Not(IsOk()));
  EXPECT_THAT(absl::StatusOr<int>(kDenied), Not(IsOk()));
}

TEST(StatusMatchers, CodeMustBeTheSame) {
  EXPECT_THAT(kDenied, HasCode(absl::StatusCode::kPermissionDenied));
  EXPECT_THAT(absl::StatusOr<int>(kDenied), HasCode(absl::StatusCode::kPermissionDenied));
  EXPECT_THAT(kDenied, Not(HasCode(absl::StatusCode::kNotFound)));
  EXPECT_THAT(absl::OkStatus(), Not(HasCode(absl::StatusCode::kNotFound)));
}

TEST(StatusMatchers, ReasonMustBeTheCatalogues) {
  EXPECT_THAT(kDenied, HasReason("ROLE_EXCEEDS_CREATOR"));
  EXPECT_THAT(absl::StatusOr<int>(kDenied), HasReason("ROLE_EXCEEDS_CREATOR"));
  EXPECT_THAT(kDenied, Not(HasReason("ROLE_EXCEEDS")));
  EXPECT_THAT(absl::PermissionDeniedError("ROLE_EXCEEDS_CREATOR"), Not(HasReason("ROLE_EXCEEDS_CREATOR")));
}

TEST(StatusMatchers, OkHasNoReasonNotEvenTheEmptyOne) { EXPECT_THAT(absl::OkStatus(), Not(HasReason(""))); }

TEST(StatusMatchers, IsErrorNeedsCodeAndReason) {
  EXPECT_THAT(kDenied, IsError(absl::StatusCode::kPermissionDenied, "ROLE_EXCEEDS_CREATOR"));
  EXPECT_THAT(kDenied, Not(IsError(absl::StatusCode::kNotFound, "ROLE_EXCEEDS_CREATOR")));
  EXPECT_THAT(kDenied, Not(IsError(absl::StatusCode::kPermissionDenied, "KEY_NOT_FOUND")));
}

TEST(StatusMatchers, IsOkAndLooksAtTheValue) {
  EXPECT_THAT(absl::StatusOr<int>(3), IsOkAnd(Eq(3)));
  EXPECT_THAT(absl::StatusOr<int>(3), Not(IsOkAnd(Eq(4))));
  EXPECT_THAT(absl::StatusOr<int>(kDenied), Not(IsOkAnd(Eq(3))));
}

TEST(StatusMatchers, AFailureShowsTheStatusAndItsReason) {
  EXPECT_THAT(Explain<absl::Status>(IsOk(), kDenied), HasSubstr("PERMISSION_DENIED"));
  EXPECT_THAT(Explain<absl::Status>(HasReason("OTHER"), kDenied), HasSubstr("ROLE_EXCEEDS_CREATOR"));
}

}  // namespace
}  // namespace latchkey::testing
