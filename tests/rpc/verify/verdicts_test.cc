#include "server/rpc/verify/verdicts.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "server/model/built_in_roles.h"
#include "server/rpc/call/convert.h"

namespace latchkey::rpc {
namespace {

const absl::Time kCreated = absl::FromUnixMicros(1700000000123456);
const absl::Time kNow = kCreated + absl::Hours(1);
const core::RevisionToken kRevision = {7, {'h', 'i', 's', 't', 'o', 'r', 'y', '1'}};

keys::Verdict AllowedVerdict() {
  keys::Verdict verdict;
  verdict.decision = core::Decision::kAllowed;
  verdict.identity = keys::Identity{.organization = "acme",
                                    .kid = "0123456789ABCDEF",
                                    .display_name = "deploy",
                                    .role = "editor",
                                    .owner = "ops",
                                    .permissions = {"app.read", "app.write"},
                                    .labels = {{"team", "billing"}},
                                    .allowed_cidrs = {"10.0.0.0/8"},
                                    .expires_at = kNow + absl::Seconds(90),
                                    .secret_version = 2};
  verdict.revision = kRevision;
  verdict.history = 0xfedcba9876543210;
  verdict.lease_remaining = absl::Milliseconds(4500);
  verdict.expires_in = absl::Seconds(90);
  return verdict;
}

TEST(VerdictConversion, IdentityAndTimesArrive) {
  v1::VerifyResponse response;
  ToProto(AllowedVerdict(), &response);
  EXPECT_EQ(response.decision(), v1::DECISION_ALLOWED);
  EXPECT_EQ(response.identity().name(), "organizations/acme/keys/0123456789ABCDEF");
  EXPECT_EQ(response.identity().key_id(), "0123456789ABCDEF");
  EXPECT_EQ(response.identity().organization(), "acme");
  EXPECT_EQ(response.identity().display_name(), "deploy");
  EXPECT_EQ(response.identity().role(), "editor");
  EXPECT_EQ(response.identity().permissions_size(), 2);
  EXPECT_EQ(response.identity().owner(), "ops");
  EXPECT_EQ(response.identity().labels().at("team"), "billing");
  EXPECT_TRUE(response.identity().has_expire_time());
  EXPECT_EQ(response.identity().secret_version(), 2);
  ASSERT_EQ(response.identity().allowed_cidrs_size(), 1);
  EXPECT_EQ(response.identity().allowed_cidrs(0), "10.0.0.0/8");
  EXPECT_EQ(response.revision().number(), 7);
  EXPECT_EQ(response.revision().token(), kRevision.Encode());
  EXPECT_EQ(response.history(), 0xfedcba9876543210);
  EXPECT_EQ(response.lease_remaining().seconds(), 4);
  EXPECT_EQ(response.lease_remaining().nanos(), 500'000'000);
  EXPECT_EQ(response.expires_in().seconds(), 90);
}

TEST(VerdictConversion, AnswerMayBeReusedUntilTheEarlierOfLeaseAndExpiry) {
  keys::Verdict verdict = AllowedVerdict();
  v1::VerifyResponse lease_first;
  ToProto(verdict, &lease_first);
  EXPECT_EQ(lease_first.max_cache_age().seconds(), 4);
  verdict.expires_in = absl::Seconds(2);
  v1::VerifyResponse expiry_first;
  ToProto(verdict, &expiry_first);
  EXPECT_EQ(expiry_first.max_cache_age().seconds(), 2);
  EXPECT_EQ(expiry_first.max_cache_age().nanos(), 0);
}

TEST(VerdictConversion, NeverIsUnsetAndThePastIsZero) {
  keys::Verdict verdict = AllowedVerdict();
  verdict.expires_in = absl::InfiniteDuration();
  v1::VerifyResponse never;
  ToProto(verdict, &never);
  EXPECT_FALSE(never.has_expires_in());
  EXPECT_EQ(never.max_cache_age().seconds(), 4);
  verdict.expires_in = absl::Seconds(-3);
  v1::VerifyResponse past;
  ToProto(verdict, &past);
  EXPECT_EQ(past.expires_in().seconds(), 0);
  EXPECT_EQ(past.max_cache_age().seconds(), 0);
  EXPECT_GE(past.max_cache_age().nanos(), 0);
}

TEST(VerdictConversion, NoIdentityStaysUnset) {
  v1::VerifyResponse unknown;
  keys::Verdict verdict;
  verdict.decision = core::Decision::kNotFound;
  ToProto(verdict, &unknown);
  EXPECT_EQ(unknown.decision(), v1::DECISION_NOT_FOUND);
  EXPECT_FALSE(unknown.has_identity());
}

TEST(VerdictConversion, UsedMessageKeepsNothingOfItsFormerVerdict) {
  keys::Verdict bare;
  bare.decision = core::Decision::kRevoked;
  bare.identity = keys::Identity{.organization = "beta", .kid = "FEDCBA9876543210"};
  bare.revision = {8, {}};
  keys::Verdict unknown;
  unknown.decision = core::Decision::kNotFound;
  for (const keys::Verdict& next : {bare, unknown, AllowedVerdict()}) {
    v1::VerifyResponse used;
    ToProto(AllowedVerdict(), &used);
    ToProto(next, &used);
    v1::VerifyResponse fresh;
    ToProto(next, &fresh);
    // Labels are a map: one of them at most, so that the bytes can be compared.
    EXPECT_EQ(used.SerializeAsString(), fresh.SerializeAsString());
  }
}

}  // namespace
}  // namespace latchkey::rpc
