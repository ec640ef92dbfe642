#pragma once

#include <gmock/gmock.h>

#include <ostream>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/base/errors.h"

// Matchers for absl::Status and absl::StatusOr; Debian's Abseil has none.
//
//   EXPECT_THAT(registry.Create(...), IsOk());
//   EXPECT_THAT(registry.Create(...), HasCode(absl::StatusCode::kNotFound));
//   EXPECT_THAT(registry.Create(...), HasReason("ROLE_EXCEEDS_CREATOR"));
//   EXPECT_THAT(registry.Create(...), IsError(absl::StatusCode::kNotFound, "KEY_NOT_FOUND"));
namespace latchkey::testing {

inline const absl::Status& StatusOf(const absl::Status& status) { return status; }
template <typename T>
const absl::Status& StatusOf(const absl::StatusOr<T>& result) {
  return result.status();
}

MATCHER(IsOk, negation ? "is an error" : "is OK") {
  *result_listener << "which is " << StatusOf(arg).ToString();
  return StatusOf(arg).ok();
}

// OK never has a reason and matches only kOk.
MATCHER_P(HasCode, code, std::string(negation ? "has not" : "has") + " code " + absl::StatusCodeToString(code)) {
  *result_listener << "which is " << StatusOf(arg).ToString();
  return StatusOf(arg).code() == code;
}

// The reason of the error catalogue.
MATCHER_P(HasReason, reason,
          std::string(negation ? "has not" : "has") + " reason " + ::testing::PrintToString(reason)) {
  *result_listener << "whose reason is \"" << errors::NameOf(errors::ReasonOf(StatusOf(arg)))
                   << "\": " << StatusOf(arg).ToString();
  return !StatusOf(arg).ok() && errors::NameOf(errors::ReasonOf(StatusOf(arg))) == reason;
}

// Both.
MATCHER_P2(IsError, code, reason,
           std::string(negation ? "is not " : "is ") + absl::StatusCodeToString(code) + " " +
               ::testing::PrintToString(reason)) {
  *result_listener << "which is " << absl::StatusCodeToString(StatusOf(arg).code()) << " "
                   << errors::NameOf(errors::ReasonOf(StatusOf(arg))) << ": " << StatusOf(arg).ToString();
  return StatusOf(arg).code() == code && errors::NameOf(errors::ReasonOf(StatusOf(arg))) == reason;
}

// OK, and the value matches.
MATCHER_P(IsOkAnd, value, std::string(negation ? "is an error or a value that does not match" : "is OK and a match")) {
  if (!arg.ok()) {
    *result_listener << "which is " << arg.status().ToString();
    return false;
  }
  return ::testing::ExplainMatchResult(value, *arg, result_listener);
}

}  // namespace latchkey::testing
