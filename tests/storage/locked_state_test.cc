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
  const storage::LockedState seen = Look({.children_of = "mother"});
  EXPECT_THAT(seen.children, ElementsAre(Stored("child")));
  EXPECT_THAT(seen.children_roles, ElementsAre(Key(Pair("acme", "reader"))));
  EXPECT_THAT(Look({}).children, IsEmpty());
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
