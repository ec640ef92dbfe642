#include "server/rpc/transport/grpc/library_logs.h"

#include <gmock/gmock.h>
#include <grpc/support/log.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "latchkey/v1/key_verify.pb.h"

namespace latchkey::rpc {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(LibraryLogs, TextIsCutBeforeTheFirstValue) {
  EXPECT_EQ(WithoutValues("Failed accept4: Too many open files"), "Failed accept");
  EXPECT_EQ(WithoutValues("Invalid grpc-timeout value 'secret'"), "Invalid grpc-timeout value");
  EXPECT_EQ(WithoutValues("key=secret"), "key");
  EXPECT_EQ(WithoutValues(std::string(1'000, 'x')), std::string(120, 'x'));
  EXPECT_EQ(WithoutValues("two\nlines"), "two lines");
  EXPECT_EQ(WithoutValues(""), "");
}

TEST(LibraryLogs, FloodOfThemIsAFewJsonLinesWithoutValues) {
  InstallLibraryLogs();
  ::testing::internal::CaptureStderr();
  v1::VerifyRequest request;
  for (int i = 0; i < 500; ++i) {
    gpr_log(GPR_ERROR, "Failed parsing metadata: value=%s", "secret");
    EXPECT_FALSE(request.ParseFromString("\x0a\x01\xff"));  // No UTF-8.
  }
  const std::string out = ::testing::internal::GetCapturedStderr();
  const auto lines = std::count(out.begin(), out.end(), '\n');
  EXPECT_GT(lines, 0);
  EXPECT_LT(lines, 50);
  EXPECT_EQ(std::count(out.begin(), out.end(), '{'), lines);
  EXPECT_THAT(out, Not(HasSubstr("secret")));
}

}  // namespace
}  // namespace latchkey::rpc
