#include "server/rpc/call/status_conversion.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "google/rpc/error_details.pb.h"
#include "server/base/errors.h"
#include "server/rpc/call/call.h"
#include "tests/support/fake_clock.h"

namespace latchkey::rpc {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

// The first detail of type `Detail`; nullopt if there is none.
template <typename Detail>
std::optional<Detail> DetailIn(const google::rpc::Status& status) {
  for (const google::protobuf::Any& any : status.details()) {
    Detail detail;
    if (any.UnpackTo(&detail)) return detail;
  }
  return std::nullopt;
}

TEST(StatusConversion, OkStaysOk) { EXPECT_EQ(RpcStatusOf(absl::OkStatus(), "id").ByteSizeLong(), 0u); }

TEST(StatusConversion, EveryErrorCarriesReasonDomainAndRequestId) {
  for (const absl::Status& error :
       {errors::FieldInvalid("f", "w"), errors::CredentialsMissing(), errors::PermissionMissing("p"),
        errors::KeyNotFound("k"), errors::RequestReplayed("k"), errors::EtagMismatch("k"), errors::LastOwner("o"),
        errors::DatabaseUnavailable(), errors::HashPoolFull(absl::Seconds(1)), errors::DeadlineExceeded(),
        errors::RowUnreadable("change-log row 7: v: it is missing"), errors::Internal("x")}) {
    const google::rpc::Status status = RpcStatusOf(error, "call-1");
    EXPECT_EQ(status.code(), static_cast<int>(error.code()));
    const auto info = DetailIn<google::rpc::ErrorInfo>(status);
    ASSERT_TRUE(info.has_value());
    EXPECT_EQ(info->reason(), errors::NameOf(errors::ReasonOf(error)));
    EXPECT_EQ(info->domain(), "latchkey.dev");
    EXPECT_EQ(info->metadata().at("request_id"), "call-1");
  }
}

TEST(StatusConversion, MetadataOfTheErrorTravels) {
  const google::rpc::Status status = RpcStatusOf(errors::RequestReplayed("organizations/acme/keys/k"), "c");
  EXPECT_EQ(status.code(), static_cast<int>(absl::StatusCode::kAlreadyExists));
  EXPECT_EQ(DetailIn<google::rpc::ErrorInfo>(status)->metadata().at("name"), "organizations/acme/keys/k");
}

TEST(StatusConversion, FieldFaultAddsBadRequestAndOthersDoNot) {
  const google::rpc::Status status = RpcStatusOf(errors::FieldInvalid("key.display_name", "1..100 characters"), "c");
  const auto bad_request = DetailIn<google::rpc::BadRequest>(status);
  ASSERT_TRUE(bad_request.has_value());
  ASSERT_EQ(bad_request->field_violations_size(), 1);
  EXPECT_EQ(bad_request->field_violations(0).field(), "key.display_name");
  EXPECT_EQ(bad_request->field_violations(0).description(), "1..100 characters");
  EXPECT_FALSE(DetailIn<google::rpc::BadRequest>(RpcStatusOf(errors::KeyNotFound("k"), "c")).has_value());
}

TEST(StatusConversion, RetryInfoIsThereWhereWaitingHelps) {
  const auto retry = DetailIn<google::rpc::RetryInfo>(RpcStatusOf(errors::HashPoolFull(absl::Milliseconds(1250)), "c"));
  ASSERT_TRUE(retry.has_value());
  EXPECT_EQ(retry->retry_delay().seconds(), 1);
  EXPECT_EQ(retry->retry_delay().nanos(), 250'000'000);
  EXPECT_FALSE(DetailIn<google::rpc::RetryInfo>(RpcStatusOf(errors::KeyNotFound("k"), "c")).has_value());
}

TEST(StatusConversion, InternalTextStaysInside) {
  for (const absl::Status& error :
       {errors::Internal("relation \"keys\" does not exist"), absl::UnknownError("relation \"keys\""),
        absl::NotFoundError("relation \"keys\" has no catalogue entry")}) {
    const google::rpc::Status status = RpcStatusOf(error, "call-7");
    EXPECT_EQ(status.code(), static_cast<int>(absl::StatusCode::kInternal));
    EXPECT_EQ(status.message(), "internal error (request call-7)");
    EXPECT_THAT(status.SerializeAsString(), Not(HasSubstr("relation")));
    EXPECT_EQ(DetailIn<google::rpc::ErrorInfo>(status)->reason(), "INTERNAL");
    EXPECT_TRUE(IsHidden(error));
  }
}

TEST(StatusConversion, ErrorsOfTheCatalogueAreNotHidden) {
  EXPECT_FALSE(IsHidden(absl::OkStatus()));
  EXPECT_FALSE(IsHidden(errors::KeyNotFound("k")));
  EXPECT_FALSE(IsHidden(absl::CancelledError()));
}

TEST(StatusConversion, KeyStringThatACallerPutInANameDoesNotComeBack) {
  const std::string secret(61, 'z');
  const std::string key = "lk1_0123456789ABCDEF_" + secret;
  for (const absl::Status& error : {errors::RoleUnknown("key.role", key, "acme"), errors::FieldInvalid(key, key),
                                    errors::RoleExceedsCreator(key), errors::RequestReplayed(key)}) {
    const std::string sent = RpcStatusOf(error, "c").SerializeAsString();
    EXPECT_THAT(sent, Not(HasSubstr(secret)));
    EXPECT_THAT(sent, HasSubstr("lk1_0123456789ABCDEF_[redacted]"));
  }
}

TEST(StatusConversion, HugeTextsAreCutSoThatTheyFitInMetadata) {
  std::string huge;
  for (int i = 0; i < 20000; ++i) huge += "é";
  const google::rpc::Status status = RpcStatusOf(errors::FieldInvalid(huge, huge), "c");
  // The message goes twice: as gRPC's own, and in the details.
  EXPECT_LT(status.message().size() + status.ByteSizeLong(), 8000u);
}

TEST(StatusConversion, ValuesThatAMessageMentionsAreThereForPrograms) {
  const google::rpc::Status status = RpcStatusOf(errors::PermissionMissing("latchkey.keys.create"), "c");
  EXPECT_EQ(status.code(), 7);
  EXPECT_EQ(DetailIn<google::rpc::ErrorInfo>(status)->metadata().at("permission"), "latchkey.keys.create");
}

TEST(SecurityLog, FloodOfDenialsIsCutAndTheNextLineTellsHowMany) {
  testing::FakeClock clock;
  SecurityLog security_log(clock, 2);
  ::testing::internal::CaptureStderr();
  EXPECT_TRUE(security_log.Denied({{"peer", "a"}}));
  EXPECT_TRUE(security_log.Denied({{"peer", "b"}}));
  int left_out = 0;
  for (; !security_log.Denied({{"peer", "c"}}); ++left_out) clock.Advance(absl::Milliseconds(100));
  const std::string out = ::testing::internal::GetCapturedStderr();
  EXPECT_GT(left_out, 0);
  EXPECT_EQ(std::count(out.begin(), out.end(), '\n'), 3);
  EXPECT_THAT(out, HasSubstr("\"left_out_before\":" + std::to_string(left_out)));
}

TEST(SecurityLog, OnePeerOrKeyDoesNotHideTheOthersAndASummaryTellsOfIt) {
  testing::FakeClock clock;
  SecurityLog security_log(clock, 100);
  ::testing::internal::CaptureStderr();
  int loud = 0;
  for (int i = 0; i < 40; ++i) loud += security_log.Denied({}, "10.0.0.1", "hint-a") ? 1 : 0;
  int leaked = 0;
  for (int i = 0; i < 40; ++i) leaked += security_log.Denied({}, "10.1.0." + std::to_string(i), "hint-b") ? 1 : 0;
  EXPECT_LT(loud, 10);
  EXPECT_LT(leaked, 10);
  EXPECT_TRUE(security_log.Denied({}, "10.0.0.2", "hint-c"));
  EXPECT_FALSE(security_log.Summarize());
  clock.Advance(absl::Seconds(61));
  EXPECT_TRUE(security_log.Summarize());
  clock.Advance(absl::Seconds(61));
  EXPECT_FALSE(security_log.Summarize()) << "nothing was left out";
  const std::string out = ::testing::internal::GetCapturedStderr();
  EXPECT_THAT(out, HasSubstr("\"left_out\":" + std::to_string(80 - loud - leaked)));
  EXPECT_THAT(out, HasSubstr("\"most_by_peer\":\"10.0.0.1\",\"of_peer\":" + std::to_string(40 - loud)));
  EXPECT_THAT(out, HasSubstr("\"most_by_key\":\"hint-"));
}

}  // namespace
}  // namespace latchkey::rpc
