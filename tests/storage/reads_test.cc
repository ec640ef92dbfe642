#include "absl/strings/str_cat.h"
#include "tests/storage/contract_fixture.h"
#include "tests/support/status_matchers.h"

namespace latchkey::contract {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;
using ::testing::UnorderedElementsAre;

std::vector<std::string> KidsOf(const std::vector<keys::KeyRecord>& keys) {
  std::vector<std::string> kids;
  for (const keys::KeyRecord& key : keys) kids.push_back(key.kid);
  return kids;
}

std::vector<std::string> IdsOf(const std::vector<keys::OrganizationRecord>& organizations) {
  std::vector<std::string> ids;
  for (const keys::OrganizationRecord& organization : organizations) ids.push_back(organization.id);
  return ids;
}

TEST_P(KeyStoreContract, WhatIsNotThereIsNotAnError) {
  EXPECT_EQ(store_->ReadKey("acme", "absent").value(), std::nullopt);
  EXPECT_EQ(store_->ReadOrganization("absent").value(), std::nullopt);
  EXPECT_THAT(store_->ListKeys({.organization = "absent"}).value(), IsEmpty());
  EXPECT_THAT(store_->ListRoles("absent", "", 1000).value(), IsEmpty());
  EXPECT_THAT(store_->ReadSecrets("absent").value(), IsEmpty());
}

TEST_P(KeyStoreContract, EveryFieldIsReadBack) {
  keys::KeyRecord key = FilledKey("k");
  keys::OrganizationRecord organization = Filled<keys::OrganizationRecord>();
  keys::RoleRecord role = Filled<keys::RoleRecord>();
  role.organization = "acme";
  role.removed = false;  // A removed one has no row.
  key.revision = Put({ChangeOf(key)}).at(0).rev;
  organization.revision = Put({ChangeOf(organization)}).at(0).rev;
  role.revision = Put({ChangeOf(role)}).at(0).rev;
  EXPECT_EQ(store_->ReadKey("acme", "k").value(), key);
  EXPECT_EQ(store_->ReadOrganization(organization.id).value(), organization);
  EXPECT_THAT(store_->ListRoles("acme", "", 1000).value(), ElementsAre(role));

  // And over what was there.
  keys::KeyRecord changed = Key("k");
  changed.revision = Put({ChangeOf(changed)}).at(0).rev;
  EXPECT_EQ(store_->ReadKey("acme", "k").value(), changed);
}

TEST_P(KeyStoreContract, AKeyIsReadInItsOwnOrganizationOnly) {
  keys::OrganizationRecord other = Organization("other");
  Put({ChangeOf(other), ChangeOf(Key("k"))});
  EXPECT_TRUE(store_->ReadKey("acme", "k").value().has_value());
  EXPECT_EQ(store_->ReadKey("other", "k").value(), std::nullopt);
  EXPECT_EQ(store_->ReadKey("", "k").value(), std::nullopt);
}

TEST_P(KeyStoreContract, DeletedKeysAndOrganizationsAreReadByName) {
  keys::KeyRecord dead = Key("dead");
  dead.deleted_at = At(1);
  keys::OrganizationRecord gone = Organization("gone");
  gone.deleted_at = At(1);
  Put({ChangeOf(gone), ChangeOf(dead)});
  EXPECT_TRUE(store_->ReadKey("acme", "dead").value()->deleted());
  EXPECT_TRUE(store_->ReadOrganization("gone").value()->deleted());
}

TEST_P(KeyStoreContract, KeysAreListedNewestFirstWithinTheirOrganization) {
  Put({ChangeOf(Key("old", "acme", 1)), ChangeOf(Key("new", "acme", 3)), ChangeOf(Key("middle", "acme", 2)),
       ChangeOf(Key("other", "system", 2))});
  EXPECT_THAT(KidsOf(store_->ListKeys({.organization = "acme"}).value()), ElementsAre("new", "middle", "old"));
}

TEST_P(KeyStoreContract, DeletedKeysAreListedOnlyOnRequest) {
  keys::KeyRecord dead = Key("dead", "acme", 1);
  dead.deleted_at = At(2);
  Put({ChangeOf(dead), ChangeOf(Key("live", "acme", 0))});
  EXPECT_THAT(KidsOf(store_->ListKeys({.organization = "acme"}).value()), ElementsAre("live"));
  EXPECT_THAT(KidsOf(store_->ListKeys({.organization = "acme", .show_deleted = true}).value()),
              ElementsAre("dead", "live"));
}

TEST_P(KeyStoreContract, PagesOverEqualTimesMissNothingAndRepeatNothing) {
  // Upper case sorts before lower case: by bytes, not by a language.
  std::vector<keys::Change> changes;
  for (const char* kid : {"a1", "B1", "a2", "B2", "Z", "z", "0", "a"}) changes.push_back(ChangeOf(Key(kid, "acme", 5)));
  changes.push_back(ChangeOf(Key("first", "acme", 6)));
  changes.push_back(ChangeOf(Key("last", "acme", 4)));
  Put(changes);
  std::vector<std::string> kids;
  storage::KeyQuery query = {.organization = "acme", .limit = 3};
  for (int page = 0; page < 10; ++page) {
    const std::vector<keys::KeyRecord> keys = store_->ListKeys(query).value();
    if (keys.empty()) break;
    EXPECT_LE(keys.size(), 3u);
    for (const std::string& kid : KidsOf(keys)) kids.push_back(kid);
    query.before_created_at = keys.back().created_at;
    query.before_kid = keys.back().kid;
  }
  EXPECT_THAT(kids, ElementsAre("first", "z", "a2", "a1", "a", "Z", "B2", "B1", "0", "last"));
}

TEST_P(KeyStoreContract, OrganizationsAreListedById) {
  keys::OrganizationRecord gone = Organization("b");
  gone.deleted_at = At(1);
  Put({ChangeOf(Organization("a0")), ChangeOf(Organization("a-z")), ChangeOf(Organization("aa")), ChangeOf(gone)});
  EXPECT_THAT(IdsOf(store_->ListOrganizations("", false, 100).value()),
              ElementsAre("a-z", "a0", "aa", "acme", "system"));
  EXPECT_THAT(IdsOf(store_->ListOrganizations("a0", true, 3).value()), ElementsAre("aa", "acme", "b"));
  EXPECT_THAT(IdsOf(store_->ListOrganizations("system", true, 3).value()), IsEmpty());
}

TEST_P(KeyStoreContract, RolesAreListedByIdWithinTheirOrganization) {
  Put({ChangeOf(Role("acme", "b")), ChangeOf(Role("acme", "a")), ChangeOf(Role("system", "c"))});
  const std::vector<keys::RoleRecord> roles = store_->ListRoles("acme", "", 1000).value();
  ASSERT_EQ(roles.size(), 2u);
  EXPECT_EQ(roles[0].id, "a");
  EXPECT_EQ(roles[1].id, "b");
  EXPECT_THAT(store_->ListRoles("acme", "", 1).value(), ElementsAre(roles[0]));
  EXPECT_THAT(store_->ListRoles("acme", "a", 1).value(), ElementsAre(roles[1]));
  EXPECT_THAT(store_->ListRoles("acme", "aa", 9).value(), ElementsAre(roles[1]));
  EXPECT_THAT(store_->ListRoles("acme", "b", 9).value(), IsEmpty());
}

TEST_P(KeyStoreContract, TheFirstKeyRingCheckOfAnIdStays) {
  const std::string bytes("\0\x01'\xff", 4);
  EXPECT_THAT(store_->SettleKeyRingChecks({{"p1", bytes}, {"t1", "tag"}}).value(),
              UnorderedElementsAre(Pair("p1", bytes), Pair("t1", "tag")));
  EXPECT_THAT(store_->SettleKeyRingChecks({{"p1", "another"}, {"p2", "new"}}).value(),
              UnorderedElementsAre(Pair("p1", bytes), Pair("p2", "new")));
  EXPECT_THAT(store_->SettleKeyRingChecks({}).value(), IsEmpty());
}

}  // namespace
}  // namespace latchkey::contract
