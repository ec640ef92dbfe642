#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "latchkey/testing/fake_verifier.h"

namespace latchkey::testing {
namespace {

TEST(FakeVerifier, AllowsWhatItWasToldWithTheIdentityAndItsPermissions) {
  FakeVerifier verifier;
  verifier.Allow("good", Identity({.organization = "acme", .key_id = "k1", .permissions = {"app.*"}}));
  const Answer answer = verifier.Verify("good", {.required_permissions = {"app.read"}});
  EXPECT_TRUE(answer.allowed());
  EXPECT_EQ(answer.identity().organization(), "acme");
  EXPECT_EQ(verifier.Verify("good", {.required_permissions = {"other"}}).decision(), Decision::kPermissionDenied);
  EXPECT_EQ(verifier.Verify("unknown", {}).decision(), Decision::kNotFound);
  EXPECT_EQ(verifier.calls("good"), 2);
  EXPECT_EQ(verifier.calls(), 3);
}

TEST(FakeVerifier, ChecksTheAddressIfTheKeyIsHeldToOne) {
  FakeVerifier verifier;
  verifier.Allow("held", Identity({.allowed_cidrs = {"10.0.0.0/8"}}));
  EXPECT_TRUE(verifier.Verify("held", {.client_ip = "10.1.1.1"}).allowed());
  EXPECT_EQ(verifier.Verify("held", {}).decision(), Decision::kClientNotAllowed);
}

TEST(FakeVerifier, DeniesAndForgets) {
  FakeVerifier verifier;
  verifier.Deny("bad", Decision::kRevoked);
  EXPECT_EQ(verifier.Verify("bad", {}).decision(), Decision::kRevoked);
  verifier.Forget("bad");
  EXPECT_EQ(verifier.Verify("bad", {}).decision(), Decision::kNotFound);
}

TEST(FakeVerifier, UndecidedUntilToldOtherwise) {
  FakeVerifier verifier;
  verifier.Allow("good", {});
  verifier.SetUndecided(absl::UnavailableError("away"));
  int answers = 0;
  verifier.VerifyAsync("good", {}, [&](const Answer& answer) {
    ++answers;
    EXPECT_TRUE(answer.undecided());
  });
  EXPECT_EQ(answers, 1);
  EXPECT_FALSE(verifier.WaitUntilConnected(absl::ZeroDuration()));
  verifier.SetUndecided(absl::OkStatus());
  EXPECT_TRUE(verifier.Verify("good", {}).allowed());
}

}  // namespace
}  // namespace latchkey::testing
