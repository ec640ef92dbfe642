#include "client/core/judge.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace latchkey::core {
namespace {

using Permissions = std::vector<std::string>;

std::vector<Cidr> Blocks(const std::vector<std::string>& texts) {
  std::vector<Cidr> blocks;
  for (const std::string& text : texts) blocks.push_back(Cidr::Parse(text).value());
  return blocks;
}

Decision JudgePermissions(const Permissions* held, const Permissions* wanted) {
  return Judge({.permissions = held}, {.permissions = wanted});
}

Decision JudgeAddress(const std::vector<Cidr>& allowed, std::string_view client_ip) {
  return Judge({.allowed_cidrs = allowed}, {.client_ip = client_ip});
}

TEST(Judge, AllowsAKeyThatNothingSpeaksAgainst) {
  EXPECT_EQ(Judge({}, {}), Decision::kAllowed);
  const Permissions held = {"app.*"};
  const Permissions wanted = {"app.read"};
  const std::vector<Cidr> blocks = Blocks({"10.0.0.0/8"});
  EXPECT_EQ(Judge({.permissions = &held, .allowed_cidrs = blocks}, {.permissions = &wanted, .client_ip = "10.1.2.3"}),
            Decision::kAllowed);
}

TEST(Judge, OfSeveralReasonsTheFirstInTheFixedOrderIsTheVerdict) {
  constexpr Decision kOrder[] = {Decision::kRevoked, Decision::kDisabled, Decision::kExpired,
                                 Decision::kClientNotAllowed, Decision::kPermissionDenied};
  const Permissions held = {"app.read"};
  const Permissions wanted = {"app.write"};
  const std::vector<Cidr> blocks = Blocks({"10.0.0.0/8"});
  for (unsigned reasons = 0; reasons < 32; ++reasons) {
    Decision expected = Decision::kAllowed;
    for (int i = 4; i >= 0; --i) {
      if (reasons >> i & 1) expected = kOrder[i];
    }
    KeyStatus standing{.revoked = (reasons & 1) != 0, .disabled = (reasons & 2) != 0, .expired = (reasons & 4) != 0};
    standing.permissions = &held;
    Wanted asked{.client_ip = "192.168.0.1"};
    if (reasons & 8) standing.allowed_cidrs = blocks;
    if (reasons & 16) asked.permissions = &wanted;
    EXPECT_EQ(Judge(standing, asked), expected) << reasons;
  }
}

TEST(Judge, EveryPermissionThatIsWantedMustBeCovered) {
  const Permissions held = {"app.*", "billing.read"};
  const Permissions covered = {"app.write", "app.a.b", "billing.read"};
  const Permissions partly = {"app.write", "billing.write"};
  const Permissions none;
  EXPECT_EQ(JudgePermissions(&held, &covered), Decision::kAllowed);
  EXPECT_EQ(JudgePermissions(&held, &partly), Decision::kPermissionDenied);
  EXPECT_EQ(JudgePermissions(&held, &none), Decision::kAllowed);
  EXPECT_EQ(JudgePermissions(&held, nullptr), Decision::kAllowed);
  EXPECT_EQ(JudgePermissions(&none, &covered), Decision::kPermissionDenied);
}

TEST(Judge, AKeyWhoseRoleIsGoneHoldsNothing) {
  const Permissions wanted = {"app.read"};
  const Permissions none;
  EXPECT_EQ(JudgePermissions(nullptr, &wanted), Decision::kPermissionDenied);
  EXPECT_EQ(JudgePermissions(nullptr, &none), Decision::kAllowed);
  EXPECT_EQ(JudgePermissions(nullptr, nullptr), Decision::kAllowed);
}

TEST(Judge, AKeyWithBlocksNeedsAnAddressInOneOfThem) {
  const std::vector<Cidr> blocks = Blocks({"10.0.0.0/8", "2001:db8::/32"});
  for (const char* inside : {"10.0.0.0", "10.255.255.255", "::ffff:10.1.1.1", "2001:db8::1", "2001:DB8:ffff::"}) {
    EXPECT_EQ(JudgeAddress(blocks, inside), Decision::kAllowed) << inside;
  }
  for (const char* outside : {"", "11.0.0.0", "9.255.255.255", "2001:db9::", "::", "10.1.1", "10.1.1.1:80", "10.1.1.1 ",
                              "localhost", "[2001:db8::1]", "2001:db8::1%eth0"}) {
    EXPECT_EQ(JudgeAddress(blocks, outside), Decision::kClientNotAllowed) << outside;
  }
}

TEST(Judge, AKeyWithoutBlocksMayComeFromAnywhereAlsoUnnamed) {
  for (const char* any : {"", "10.0.0.1", "2001:db8::1", "no address"}) {
    EXPECT_EQ(JudgeAddress({}, any), Decision::kAllowed) << any;
  }
}

TEST(Judge, ABlockOfEveryAddressStillNeedsOne) {
  const std::vector<Cidr> blocks = Blocks({"::/0"});
  EXPECT_EQ(JudgeAddress(blocks, "10.0.0.1"), Decision::kAllowed);
  EXPECT_EQ(JudgeAddress(blocks, ""), Decision::kClientNotAllowed);
}

}  // namespace
}  // namespace latchkey::core
