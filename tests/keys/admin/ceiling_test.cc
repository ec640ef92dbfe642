#include "server/keys/admin/ceiling.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "server/base/errors.h"
#include "server/model/built_in_roles.h"
#include "tests/keys/admin/decision_values.h"
#include "tests/support/status_matchers.h"

namespace latchkey::keys {
namespace {

using testing::HasReason;
using testing::IsOk;

TEST(FindPermissions, ACustomRoleIsItsOrganizationsOnlyAndNoneHidesABuiltInOne) {
  storage::LockedState state;
  state.roles[{"acme", "custom"}] = RoleRecord{.permissions = {"app.a"}};
  state.roles[{"acme", "owner"}] = RoleRecord{.permissions = {"app.a"}};
  ASSERT_NE(FindPermissions(state, "acme", "custom"), nullptr);
  EXPECT_EQ(*FindPermissions(state, "acme", "custom"), std::vector<std::string>{"app.a"});
  EXPECT_EQ(FindPermissions(state, "beta", "custom"), nullptr);
  EXPECT_EQ(*FindPermissions(state, "acme", "owner"), FindBuiltInRole("owner")->permissions);
}

TEST(AuthorityOf, AKeyHoldsItsRolesPermissionsItsEndAndItsAddresses) {
  const KeyRecord key = Key("a", "viewer", kNow, {"10.0.0.0/8"});
  const Authority authority = AuthorityOf({}, key);
  EXPECT_EQ(authority.permissions, FindBuiltInRole("viewer")->permissions);
  EXPECT_EQ(authority.expires_at, kNow);
  EXPECT_EQ(authority.allowed_cidrs, key.allowed_cidrs);
  EXPECT_TRUE(AuthorityOf({}, Key("a", "no-such")).permissions.empty());
}

TEST(GrantCeilings, TheCallerBoundsFirstAndThenALiveCreatorThatIsNotTheCaller) {
  const KeyRecord caller = Key("caller", "owner");
  const KeyRecord creator = Key("creator", "viewer");
  const KeyRecord deleted = Deleted(Key("deleted", "viewer"));
  // Out of use by its own end alone: it may be prolonged again, so it bounds.
  const KeyRecord expired = Key("expired", "viewer", kNow);
  const storage::LockedState state = StateWith({caller, creator, deleted, expired});
  const Principal principal{.organization = "acme", .kid = "caller"};
  const Authority holder = AuthorityOf(state, caller);
  const auto ceilings = [&](const std::string& creator_kid) {
    return GrantCeilings(state, principal, holder, creator_kid);
  };
  for (const char* alone : {"caller", "deleted", "purged", ""}) {
    ASSERT_EQ(ceilings(alone).size(), 1u) << alone;
    EXPECT_EQ(ceilings(alone)[0].permissions, holder.permissions);
  }
  for (const char* second : {"creator", "expired"}) {
    ASSERT_EQ(ceilings(second).size(), 2u) << second;
    EXPECT_EQ(ceilings(second)[0].permissions, holder.permissions);
    EXPECT_EQ(ceilings(second)[1].permissions, FindBuiltInRole("viewer")->permissions);
  }
}

TEST(Ceilings, EachOfThemBoundsWhereverItStands) {
  const Authority wide{.permissions = {"*"}};
  const Authority narrow{.permissions = {"app.a"}, .expires_at = kNow, .allowed_cidrs = {"10.0.0.0/8"}};
  const Grant until_now{.expires_at = kNow};
  const Grant forever{.expires_at = Never()};
  const Grant inside{.allowed_cidrs = std::vector<std::string>{"10.1.0.0/16"}};
  const Grant anywhere{.allowed_cidrs = std::vector<std::string>()};
  for (size_t at = 0; at < 3; ++at) {
    std::vector<Authority> ceilings(3, wide);
    EXPECT_THAT(RequireRoleAtMost("r", {"app.b"}, ceilings), IsOk());
    EXPECT_THAT(RequireGrantWithin(forever, ceilings), IsOk());
    EXPECT_THAT(RequireGrantWithin(anywhere, ceilings), IsOk());
    ceilings[at] = narrow;
    EXPECT_THAT(RequireRoleAtMost("r", {"app.a"}, ceilings), IsOk());
    EXPECT_THAT(RequireRoleAtMost("r", {"app.b"}, ceilings), HasReason("ROLE_EXCEEDS_CREATOR"));
    EXPECT_THAT(RequireGrantWithin(until_now, ceilings), IsOk());
    EXPECT_THAT(RequireGrantWithin(forever, ceilings), HasReason("EXPIRY_EXCEEDS_CREATOR"));
    EXPECT_THAT(RequireGrantWithin(inside, ceilings), IsOk());
    EXPECT_THAT(RequireGrantWithin(anywhere, ceilings), HasReason("CIDRS_EXCEED_CREATOR"));
    EXPECT_THAT(RequireGrantWithin({}, ceilings), IsOk());
  }
}

TEST(Ceilings, TheErrorNamesTheEndThatIsExceeded) {
  const Authority first{.permissions = {"*"}, .expires_at = kNow + absl::Hours(2)};
  const Authority second{.permissions = {"*"}, .expires_at = kNow + absl::Hours(1)};
  const absl::Status both = RequireGrantWithin({.expires_at = Never()}, {first, second});
  EXPECT_EQ(both, errors::ExpiryExceedsCreator(first.expires_at));
  const absl::Status one = RequireGrantWithin({.expires_at = first.expires_at}, {first, second});
  EXPECT_EQ(one, errors::ExpiryExceedsCreator(second.expires_at));
}

TEST(RequireDescendantsAtMost, ChildrenAreComparedByTheRolesTheyHold) {
  storage::LockedState state = StateWith({});
  state.children = {{.organization = "acme", .role = "custom", .count = 3, .beyond = 1}};
  // `roles` are the locked ones; a child's role is among `children_roles`.
  state.roles[{"acme", "custom"}] = RoleRecord{.permissions = {"app.a"}};
  state.children_roles[{"acme", "custom"}] = RoleRecord{.permissions = {"app.b"}};
  const auto above = [&state](const std::vector<std::string>& lowered) {
    return errors::DetailOf(RequireDescendantsAtMost(state, lowered))->metadata.at("count");
  };
  EXPECT_EQ(above({"app.b"}), "1");
  EXPECT_EQ(above({"app.a"}), "3");
  state.children[0].beyond = 0;
  EXPECT_THAT(RequireDescendantsAtMost(state, {"app.b"}), IsOk());
}

}  // namespace
}  // namespace latchkey::keys
