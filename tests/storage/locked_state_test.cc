#include "tests/storage/contract_fixture.h"
#include "tests/support/status_matchers.h"

// What decide() is shown.
namespace latchkey::contract {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Key;
using ::testing::Pair;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAre;

constexpr auto MakeKey = &contract::Key;

TEST_P(KeyStoreContract, ShowsLockedKeysWhateverTheirOrderAndHoweverOften) {
  Put({ChangeOf(MakeKey("k1", "acme", 0)), ChangeOf(MakeKey("k2", "acme", 0))});
  const storage::LockedState seen = Look({.kids = {"k2", "k1", "k2"}});
  EXPECT_THAT(seen.keys, UnorderedElementsAre(Pair("k1", Stored("k1")), Pair("k2", Stored("k2"))));
}

TEST_P(KeyStoreContract, LeavesOutAKidThatHasNoRow) {
  Put({ChangeOf(MakeKey("k1", "acme", 0))});
  EXPECT_THAT(Look({.kids = {"absent", "k1"}}).keys, UnorderedElementsAre(Key("k1")));
}

TEST_P(KeyStoreContract, ShowsDeletedKeysToDecide) {
  keys::KeyRecord key = MakeKey("k1", "acme", 0);
  key.deleted_at = At(5);
  key.purge_at = At(6);
  key.delete_reason = keys::DeleteReason::kCompromised;
  Put({ChangeOf(key)});
  const storage::LockedState seen = Look({.kids = {"k1"}});
  ASSERT_THAT(seen.keys, SizeIs(1));
  EXPECT_EQ(seen.keys.at("k1").deleted_at, At(5));
  EXPECT_EQ(seen.keys.at("k1").delete_reason, keys::DeleteReason::kCompromised);
}

TEST_P(KeyStoreContract, ShowsTheCustomRolesThatLockedKeysHold) {
  keys::KeyRecord key = MakeKey("k1", "acme", 0);
  key.role = "reader";
  Put({ChangeOf(Role("acme", "reader")), ChangeOf(Role("acme", "other")), ChangeOf(key)});
  const storage::LockedState seen = Look({.kids = {"k1"}});
  ASSERT_THAT(seen.roles, ElementsAre(Key(Pair("acme", "reader"))));
  EXPECT_EQ(seen.roles.begin()->second.permissions, Role("acme", "reader").permissions);
}

TEST_P(KeyStoreContract, ShowsTheRolesOfThePlanAndNoRowForBuiltInOnes) {
  Put({ChangeOf(Organization("other")), ChangeOf(Role("acme", "reader")), ChangeOf(Role("other", "reader"))});
  const storage::LockedState seen = Look({.roles = {{"other", "reader"}, {"acme", "owner"}, {"acme", "absent"}}});
  EXPECT_THAT(seen.roles, ElementsAre(Key(Pair("other", "reader"))));
}

TEST_P(KeyStoreContract, ShowsTheOrganizationDeletedOrNot) {
  keys::OrganizationRecord gone = Organization("gone");
  gone.deleted_at = At(9);
  Put({ChangeOf(gone)});
  EXPECT_EQ(Look({.organization = "gone"}).organization->deleted_at, At(9));
  EXPECT_EQ(Look({.organization = "acme", .lock_organization = true}).organization->display_name, "The acme");
  EXPECT_FALSE(Look({.organization = "absent", .lock_organization = true}).organization.has_value());
  EXPECT_FALSE(Look({}).organization.has_value());
}

TEST_P(KeyStoreContract, ShowsTheLiveChildrenOfACreatorWithTheirCustomRoles) {
  keys::KeyRecord child = MakeKey("child", "acme", 0);
  child.creator_kid = "mother";
  child.role = "reader";
  keys::KeyRecord dead = child;
  dead.kid = "dead";
  dead.deleted_at = At(3);
  keys::KeyRecord orphan = MakeKey("orphan", "acme", 0);
  orphan.creator_kid = "";
  Put({ChangeOf(Role("acme", "reader")), ChangeOf(child), ChangeOf(dead), ChangeOf(orphan),
       ChangeOf(MakeKey("strangers", "acme", 0))});
  const storage::LockedState seen = Look({.children = {.creator_kid = "mother"}});
  ASSERT_THAT(seen.children, SizeIs(1));
  EXPECT_EQ(seen.children[0].organization, "acme");
  EXPECT_EQ(seen.children[0].role, "reader");
  EXPECT_EQ(seen.children[0].count, 1);
  EXPECT_EQ(seen.children[0].beyond, 0);
  EXPECT_THAT(seen.children_roles, ElementsAre(Key(Pair("acme", "reader"))));
  EXPECT_THAT(Look({}).children, IsEmpty());
}

TEST_P(KeyStoreContract, ChildrenThatLiveLongerOrAreUsedFromElsewhereAreBeyondTheirCreator) {
  const absl::Time now = Look({}).now;
  const auto child = [](const std::string& kid, const std::string& role, absl::Time end,
                        std::vector<std::string> cidrs = {}) {
    keys::KeyRecord key = MakeKey(kid, "acme", 0);
    key.creator_kid = "mother";
    key.role = role;
    key.expires_at = end;
    key.allowed_cidrs = std::move(cidrs);
    return ChangeOf(key);
  };
  const absl::Time hour = now + absl::Hours(1);
  Put({child("c1", "viewer", keys::Never()), child("c2", "viewer", hour), child("c3", "viewer", now - absl::Hours(1)),
       child("c4", "editor", hour, {"10.1.0.0/16", "192.168.0.0/24"}), child("c5", "editor", hour, {"10.1.2.3/32"}),
       child("c6", "editor", hour, {"2001:db8::/32"})});
  using Sums = std::vector<std::pair<int64_t, int64_t>>;  // Of editors, of viewers.
  const auto sums = [&](storage::ChildrenQuery query) {
    query.creator_kid = "mother";
    Sums sums;
    for (const storage::ChildGroup& group : Look({.children = query}).children) {
      EXPECT_EQ(group.role, sums.empty() ? "editor" : "viewer");
      sums.emplace_back(group.count, group.beyond);
    }
    return sums;
  };
  EXPECT_EQ(sums({}), (Sums{{3, 0}, {3, 0}}));
  EXPECT_EQ(sums({.end = hour}), (Sums{{3, 0}, {3, 1}}));
  EXPECT_EQ(sums({.end = now + absl::Minutes(1)}), (Sums{{3, 3}, {3, 2}}));
  // One that is over stays within any end.
  EXPECT_EQ(sums({.end = now - absl::Hours(2)}), (Sums{{3, 3}, {3, 2}}));
  EXPECT_EQ(sums({.ttl = absl::Hours(2)}), (Sums{{3, 0}, {3, 1}}));
  EXPECT_EQ(sums({.ttl = absl::Minutes(1)}), (Sums{{3, 3}, {3, 2}}));
  EXPECT_EQ(sums({.allowed_cidrs = {"10.0.0.0/8"}}), (Sums{{3, 2}, {3, 3}}));
  EXPECT_EQ(sums({.allowed_cidrs = {"10.0.0.0/8", "192.168.0.0/16", "2001:db8::/29"}}), (Sums{{3, 0}, {3, 3}}));
  EXPECT_EQ(sums({.allowed_cidrs = {"::/0", "0.0.0.0/0"}}), (Sums{{3, 0}, {3, 3}}));
}

TEST_P(KeyStoreContract, CountsTheLiveKeysOfAnOrganizationUpToItsQuota) {
  keys::KeyRecord dead = MakeKey("dead", "acme", 0);
  dead.deleted_at = At(3);
  Put({ChangeOf(MakeKey("k1", "acme", 0)), ChangeOf(MakeKey("k2", "acme", 0)), ChangeOf(dead),
       ChangeOf(MakeKey("elsewhere", "system", 0))});
  EXPECT_EQ(Look({.organization = "acme", .count_keys = true}).live_keys, 2);
  EXPECT_EQ(Look({.organization = "acme"}).live_keys, 0);
  EXPECT_EQ(Look({.organization = "absent", .count_keys = true}).live_keys, 0);
  keys::OrganizationRecord acme = *Look({.organization = "acme"}).organization;
  acme.max_keys = 1;
  Put({ChangeOf(acme)});
  EXPECT_EQ(Look({.organization = "acme", .count_keys = true}).live_keys, 1);
}

TEST_P(KeyStoreContract, CountsTheOtherLiveOwnersWithoutExpiry) {
  const auto owner = [](const std::string& kid) {
    keys::KeyRecord key = MakeKey(kid, "acme", 0);
    key.role = "owner";
    key.expires_at = keys::Never();
    return key;
  };
  keys::KeyRecord expiring = owner("expiring");
  expiring.expires_at = At(1000000);
  keys::KeyRecord dead = owner("dead");
  dead.deleted_at = At(3);
  keys::KeyRecord elsewhere = owner("elsewhere");
  elsewhere.organization = "system";
  Put({ChangeOf(owner("o1")), ChangeOf(owner("o2")), ChangeOf(owner("o3")), ChangeOf(expiring), ChangeOf(dead),
       ChangeOf(elsewhere), ChangeOf(MakeKey("editor", "acme", 0))});
  EXPECT_EQ(Look({.kids = {"o1"}, .organization = "acme", .count_other_owners = true}).other_owners, 2);
  EXPECT_EQ(Look({.organization = "acme", .count_other_owners = true}).other_owners, 3);
}

TEST_P(KeyStoreContract, RemembersThatAnOwnerOfSystemHasEverBeenStored) {
  keys::KeyRecord acme_owner = MakeKey("a", "acme", 0);
  acme_owner.role = "owner";
  keys::KeyRecord system_editor = MakeKey("e", "system", 0);
  Put({ChangeOf(acme_owner), ChangeOf(system_editor)});
  EXPECT_FALSE(Look({}).owner_ever);

  keys::KeyRecord owner = MakeKey("o", "system", 0);
  owner.role = "owner";
  Put({ChangeOf(owner)});
  EXPECT_TRUE(Look({}).owner_ever);

  owner.role = "viewer";
  owner.deleted_at = At(1);
  Put({ChangeOf(owner)});
  EXPECT_TRUE(Look({}).owner_ever);
}

TEST_P(KeyStoreContract, ShowsWhatARequestIdMadeWithinItsScope) {
  storage::LockPlan plan = {.request_scope = "caller-1", .request_id = "r1"};
  EXPECT_EQ(Look(plan).replayed_name, "");
  ASSERT_THAT(store_->Commit(plan, Always({ChangeOf(MakeKey("k1", "acme", 0))}, "organizations/acme/keys/k1")),
              latchkey::testing::IsOk());
  EXPECT_EQ(Look(plan).replayed_name, "organizations/acme/keys/k1");
  EXPECT_EQ(Look({.request_scope = "caller-2", .request_id = "r1"}).replayed_name, "");
  EXPECT_EQ(Look({.request_scope = "caller-1", .request_id = "r2"}).replayed_name, "");
}

TEST_P(KeyStoreContract, ShowsTheDatabasesClockWhichGoesOn) {
  const absl::Time first = Look({}).now;
  const std::vector<keys::LogRow> rows = Put({ChangeOf(MakeKey("k1", "acme", 0))});
  const absl::Time last = Look({}).now;
  ASSERT_THAT(rows, SizeIs(1));
  EXPECT_LE(first, rows[0].at);
  EXPECT_LE(rows[0].at, last);
}

}  // namespace
}  // namespace latchkey::contract
