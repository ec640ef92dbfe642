#include "server/rpc/call/authenticate.h"

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "server/base/errors.h"
#include "server/rpc/serving_state.h"

namespace latchkey::rpc {
namespace {

// The bearer that headers of these values show.
absl::StatusOr<std::string> BearerIn(const std::vector<std::string>& values) {
  std::multimap<grpc::string_ref, grpc::string_ref> metadata;
  metadata.emplace("user-agent", "test");
  for (const std::string& value : values) metadata.emplace("authorization", grpc::string_ref(value));
  const absl::StatusOr<std::string_view> bearer = BearerOf(metadata);
  if (!bearer.ok()) return bearer.status();
  return std::string(*bearer);
}

void ExpectUnauthenticated(const absl::Status& status, const std::string& reason) {
  EXPECT_EQ(status.code(), absl::StatusCode::kUnauthenticated) << status;
  EXPECT_EQ(errors::ReasonOf(status), reason);
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

TEST(Peer, AddressIsWithoutPortBracketsAndZone) {
  EXPECT_EQ(AddressOf("ipv4:10.1.2.3:5000"), "10.1.2.3");
  EXPECT_EQ(AddressOf("ipv6:[2001:db8::1]:5000"), "2001:db8::1");
  EXPECT_EQ(AddressOf("ipv6:%5B2001:db8::1%5D:5000"), "2001:db8::1");
  EXPECT_EQ(AddressOf("ipv6:%5bfe80::1%25eth0%5d:5000"), "fe80::1");
  EXPECT_EQ(AddressOf("ipv6:[::ffff:10.0.0.1]:1"), "::ffff:10.0.0.1");
}

TEST(Peer, WithoutAnAddressThereIsNone) {
  for (const char* const peer : {"unix:", "unix:/run/latchkey.sock", "", "ipv6:", "ipv6:]", "vsock:1:2"}) {
    EXPECT_EQ(AddressOf(peer), "") << peer;
  }
}

TEST(Principal, AllowedVerdictWithoutAnIdentityIsNobody) {
  keys::Verdict verdict = VerdictOf(core::Decision::kAllowed);
  verdict.identity.reset();
  ExpectUnauthenticated(PrincipalOf(verdict, "p").status(), "CREDENTIALS_INVALID");
}

class CountingListener final : public ServingListener {
 public:
  void OnServingChange() override { ++changes; }
  int changes = 0;
};

TEST(ServingState, EachServiceFollowsItsOwnPart) {
  using Status = ServingState::Status;
  ServingState state;
  EXPECT_EQ(state.StatusOf(""), Status::kNotServing);
  state.SetVerify(true);
  EXPECT_EQ(state.StatusOf(""), Status::kServing);
  EXPECT_EQ(state.StatusOf("latchkey.v1.KeyVerify"), Status::kServing);
  EXPECT_EQ(state.StatusOf("latchkey.v1.KeyAdmin"), Status::kNotServing);
  state.SetVerify(false);
  state.SetAdmin(true);
  EXPECT_EQ(state.StatusOf(""), Status::kNotServing);
  EXPECT_EQ(state.StatusOf("latchkey.v1.KeyAdmin"), Status::kServing);
  EXPECT_EQ(state.StatusOf("latchkey.v1.keyadmin"), Status::kUnknownService);
}

TEST(ServingState, DrainingTakesEverythingDownForGood) {
  ServingState state;
  state.SetVerify(true);
  state.SetAdmin(true);
  state.StartDraining();
  state.SetVerify(false);
  state.SetVerify(true);
  EXPECT_EQ(state.StatusOf(""), ServingState::Status::kNotServing);
  EXPECT_EQ(state.StatusOf("latchkey.v1.KeyAdmin"), ServingState::Status::kNotServing);
  EXPECT_EQ(state.StatusOf("other"), ServingState::Status::kUnknownService);
}

TEST(ServingState, ListenersHearOfChangesUntilTheyAreGone) {
  ServingState state;
  auto listener = std::make_shared<CountingListener>();
  state.Subscribe(listener);
  state.SetVerify(true);
  state.SetVerify(true);
  EXPECT_EQ(listener->changes, 1);
  state.SetAdmin(true);
  EXPECT_EQ(listener->changes, 2);
  listener.reset();
  state.SetAdmin(false);
  EXPECT_EQ(state.StatusOf("latchkey.v1.KeyAdmin"), ServingState::Status::kNotServing);
}

}  // namespace
}  // namespace latchkey::rpc
