#include "server/rpc/call/authenticator.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "server/base/errors.h"

namespace latchkey::rpc {
namespace {

// The bearer that headers of these values show.
absl::StatusOr<std::string> BearerIn(const std::vector<std::string>& values) {
  const absl::StatusOr<std::string_view> bearer = BearerOf({values.begin(), values.end()});
  if (!bearer.ok()) return bearer.status();
  return std::string(*bearer);
}

void ExpectUnauthenticated(const absl::Status& status, const std::string& reason) {
  EXPECT_EQ(status.code(), absl::StatusCode::kUnauthenticated) << status;
  EXPECT_EQ(errors::NameOf(errors::ReasonOf(status)), reason);
}

TEST(Bearer, IsTakenFromTheOneHeaderInAnyCaseOfTheScheme) {
  EXPECT_EQ(BearerIn({"Bearer lk1_x"}).value(), "lk1_x");
  EXPECT_EQ(BearerIn({"bearer lk1_x"}).value(), "lk1_x");
  EXPECT_EQ(BearerIn({"BEARER  lk1_x"}).value(), "lk1_x");
  EXPECT_EQ(BearerIn({"Bearer lk1_x "}).value(), "lk1_x ");
}

TEST(Bearer, WithoutAHeaderCredentialsAreMissing) {
  ExpectUnauthenticated(BearerIn({}).status(), "CREDENTIALS_MISSING");
}

TEST(Bearer, SeveralJoinedOrOtherCredentialsAreInvalid) {
  ExpectUnauthenticated(BearerIn({"Bearer a", "Bearer a"}).status(), "CREDENTIALS_INVALID");
  ExpectUnauthenticated(BearerIn({"Bearer a", ""}).status(), "CREDENTIALS_INVALID");
  for (const char* const value :
       {"Bearer a,Bearer a", "Bearer a, b", "Basic YTpi", "Bearer", "Bearer\ta", "Bearera", "", "lk1_x", " Bearer a"}) {
    ExpectUnauthenticated(BearerIn({value}).status(), "CREDENTIALS_INVALID");
  }
}

keys::Verdict VerdictOf(core::Decision decision) {
  keys::Verdict verdict;
  verdict.decision = decision;
  verdict.identity = keys::Identity{.organization = "acme", .kid = "0123456789ABCDEF", .role = "editor"};
  verdict.identity->permissions = {"app.read"};
  return verdict;
}

TEST(Principal, IsWhoAnAllowedVerdictShows) {
  const absl::StatusOr<keys::Principal> principal =
      PrincipalOf(VerdictOf(core::Decision::kAllowed), "ipv4:127.0.0.1:1");
  ASSERT_TRUE(principal.ok());
  EXPECT_EQ(principal->name(), "organizations/acme/keys/0123456789ABCDEF");
  EXPECT_EQ(principal->role, "editor");
  EXPECT_EQ(principal->permissions, std::vector<std::string>{"app.read"});
  EXPECT_EQ(principal->peer, "ipv4:127.0.0.1:1");
}

TEST(Principal, AnyDenialLooksTheSame) {
  const std::string expected = errors::CredentialsInvalid().ToString();
  for (int decision = 0; decision <= 12; ++decision) {
    if (decision == static_cast<int>(core::Decision::kAllowed)) continue;
    const absl::Status status = PrincipalOf(VerdictOf(static_cast<core::Decision>(decision)), "p").status();
    ExpectUnauthenticated(status, "CREDENTIALS_INVALID");
    EXPECT_EQ(status.ToString(), expected);
  }
}

TEST(Principal, OutageNeverLooksLikeABadKey) {
  for (const absl::Status& outage : {errors::LeaseExpired(), errors::HashPoolFull(absl::Seconds(1)),
                                     errors::DatabaseUnavailable(), errors::KeyRingLacks("pepper p1")}) {
    EXPECT_EQ(PrincipalOf(outage, "p").status(), outage);
  }
}

TEST(Principal, AllowedVerdictWithoutAnIdentityIsNobody) {
  keys::Verdict verdict = VerdictOf(core::Decision::kAllowed);
  verdict.identity.reset();
  ExpectUnauthenticated(PrincipalOf(verdict, "p").status(), "CREDENTIALS_INVALID");
}

}  // namespace
}  // namespace latchkey::rpc
