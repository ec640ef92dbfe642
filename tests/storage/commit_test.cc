#include "absl/strings/str_cat.h"
#include "server/base/errors.h"
#include "tests/storage/contract_fixture.h"
#include "tests/support/status_matchers.h"

// What a commit writes, and when it writes nothing.
namespace latchkey::contract {
namespace {

using ::latchkey::testing::HasReason;
using ::latchkey::testing::IsOk;
using ::testing::IsEmpty;
using ::testing::SizeIs;

TEST_P(KeyStoreContract, KeysComeBackAsTheyWereWritten) {
  keys::KeyRecord key = Key("k1");
  key.versions = {Version(1, At(0), At(7)), Version(2, At(1)), Version(10, At(2))};
  key.deleted_at = At(3);
  key.purge_at = At(4);
  key.delete_reason = keys::DeleteReason::kOwnerLeft;
  const std::vector<keys::LogRow> rows = Put({ChangeOf(key)});
  ASSERT_THAT(rows, SizeIs(1));
  key.revision = rows[0].rev;
  EXPECT_EQ(Stored("k1"), key);

  keys::KeyRecord plain = Key("k2");
  plain.labels.clear();
  plain.versions.clear();
  plain.allowed_cidrs.clear();
  plain.expires_at = keys::Never();
  plain.revision = Put({ChangeOf(plain)}).at(0).rev;
  EXPECT_EQ(Stored("k2"), plain);
}

TEST_P(KeyStoreContract, AnUpdateReplacesEveryField) {
  Put({ChangeOf(Key("k1"))});
  keys::KeyRecord key = Key("k1", "acme", 100);
  key.display_name = "other";
  key.description = "";
  key.role = "viewer";
  key.owner = "";
  key.labels = {{"x", "y"}};
  key.allowed_cidrs = {"192.0.2.0/24"};
  key.key_hint = "lk1_zzzz";
  key.creator = "bootstrap";
  key.creator_kid = "";
  key.revision = Put({ChangeOf(key)}).at(0).rev;
  EXPECT_EQ(Stored("k1"), key);
}

TEST_P(KeyStoreContract, RolesAndOrganizationsComeBackAsTheyWereWritten) {
  keys::OrganizationRecord organization = Organization("umbrella");
  organization.deleted_at = At(5);
  keys::RoleRecord role = Role("umbrella", "reader");
  const std::vector<keys::LogRow> rows = Put({ChangeOf(organization), ChangeOf(role)});
  ASSERT_THAT(rows, SizeIs(2));
  organization.revision = rows[0].rev;
  role.revision = rows[1].rev;
  EXPECT_EQ(store_->ReadOrganization("umbrella").value(), organization);
  EXPECT_EQ(store_->ListRoles("umbrella", "", 1000).value(), std::vector<keys::RoleRecord>{role});

  role.permissions = {};
  organization.display_name = "renamed";
  const std::vector<keys::LogRow> more = Put({ChangeOf(organization), ChangeOf(role)});
  organization.revision = more.at(0).rev;
  role.revision = more.at(1).rev;
  EXPECT_EQ(store_->ReadOrganization("umbrella").value(), organization);
  EXPECT_EQ(store_->ListRoles("umbrella", "", 1000).value(), std::vector<keys::RoleRecord>{role});
}

TEST_P(KeyStoreContract, TimesAreKeptToTheMicrosecond) {
  keys::KeyRecord key = Key("k1");
  key.created_at += absl::Nanoseconds(999);
  Put({ChangeOf(key)});
  EXPECT_EQ(Stored("k1").created_at, At(0));
}

TEST_P(KeyStoreContract, ARemovedRoleIsGone) {
  keys::RoleRecord role = Role("acme", "reader");
  Put({ChangeOf(role)});
  role.removed = true;
  EXPECT_THAT(Put({ChangeOf(role)}), SizeIs(1));
  EXPECT_THAT(store_->ListRoles("acme", "", 1000).value(), IsEmpty());
}

TEST_P(KeyStoreContract, TheLastOfTwoImagesOfOneKeyStays) {
  keys::KeyRecord second = Key("k1");
  second.display_name = "second";
  const std::vector<keys::LogRow> rows = Put({ChangeOf(Key("k1")), ChangeOf(second)});
  ASSERT_THAT(rows, SizeIs(2));
  EXPECT_EQ(Stored("k1").display_name, "second");
  EXPECT_EQ(Stored("k1").revision, rows[1].rev);
}

TEST_P(KeyStoreContract, ASecretIsStoredWithItsKeyAndGoesWithItsVersion) {
  keys::KeyRecord key = Key("k1");
  Put({ChangeOf(key, Secret(1))});
  std::vector<keys::StoredSecret> secrets = store_->ReadSecrets("k1").value();
  ASSERT_THAT(secrets, SizeIs(1));
  EXPECT_EQ(secrets[0].version, 1);
  EXPECT_EQ(secrets[0].hash, Secret(1).hash);
  EXPECT_EQ(secrets[0].pepper_id, "p1");

  key.versions.push_back(Version(2, At(1)));
  Put({ChangeOf(key, Secret(2))});
  secrets = store_->ReadSecrets("k1").value();
  ASSERT_THAT(secrets, SizeIs(2));
  EXPECT_EQ(secrets[0].version, 1);
  EXPECT_EQ(secrets[1].hash, Secret(2).hash);

  key.versions.erase(key.versions.begin());
  Put({ChangeOf(key)});
  secrets = store_->ReadSecrets("k1").value();
  ASSERT_THAT(secrets, SizeIs(1));
  EXPECT_EQ(secrets[0].version, 2);
}

TEST_P(KeyStoreContract, ASecretWithoutItsVersionIsRefusedWhole) {
  const std::vector<keys::Change> changes = {ChangeOf(Key("k1"), Secret(2))};
  EXPECT_THAT(store_->Commit(PlanFor(changes), Always(changes)), HasReason("INTERNAL"));
  EXPECT_FALSE(store_->ReadKey("acme", "k1").value().has_value());
}

TEST_P(KeyStoreContract, AnEmptyMutationLeavesNoTrace) {
  const size_t rows = Log().size();
  const storage::LockPlan plan = {.request_scope = "s", .request_id = "r"};
  const absl::StatusOr<storage::Committed> committed = store_->Commit(plan, Always({}, "name"));
  ASSERT_THAT(committed, IsOk());
  EXPECT_THAT(committed->rows, IsEmpty());
  EXPECT_THAT(Log(), SizeIs(rows));
  EXPECT_EQ(Look(plan).replayed_name, "");
}

TEST_P(KeyStoreContract, AnErrorOfDecideIsReturnedAndNothingIsWritten) {
  const size_t rows = Log().size();
  const absl::Status refusal = errors::RoleExceedsCreator("owner");
  const absl::StatusOr<storage::Committed> committed = store_->Commit(
      {.kids = {"k1"}}, [&](const storage::LockedState&) -> absl::StatusOr<storage::Mutation> { return refusal; });
  EXPECT_EQ(committed.status(), refusal);
  EXPECT_THAT(Log(), SizeIs(rows));
}

TEST_P(KeyStoreContract, AllOrNothingIsWritten) {
  Put({ChangeOf(Key("k1"))});
  const size_t rows = Log().size();
  keys::KeyRecord renamed = Key("k1");
  renamed.display_name = "renamed";
  // The second change can't be written.
  std::vector<keys::Change> changes = {ChangeOf(renamed), ChangeOf(Key("k2", "no-such-organization"))};
  storage::LockPlan plan = PlanFor(changes);
  plan.request_scope = "s";
  plan.request_id = "r";
  EXPECT_THAT(store_->Commit(plan, Always(changes, "name")), HasReason("INTERNAL"));
  EXPECT_EQ(Stored("k1").display_name, Key("k1").display_name);
  EXPECT_FALSE(store_->ReadKey("acme", "k2").value().has_value());
  EXPECT_EQ(Look({.request_scope = "s", .request_id = "r"}).replayed_name, "");
  EXPECT_THAT(Log(), SizeIs(rows));
}

TEST_P(KeyStoreContract, AKeyThatWasNotLookedAtIsNeverOverwritten) {
  Put({ChangeOf(Key("k1"))});
  keys::KeyRecord intruder = Key("k1");
  intruder.display_name = "intruder";
  EXPECT_THAT(store_->Commit({}, Always({ChangeOf(intruder)})), HasReason("CONTENDED"));
  EXPECT_EQ(Stored("k1").display_name, Key("k1").display_name);
}

TEST_P(KeyStoreContract, AnOrganizationThatWasNotLookedAtIsNeverOverwritten) {
  keys::OrganizationRecord intruder = Organization("acme");
  intruder.display_name = "intruder";
  EXPECT_THAT(store_->Commit({}, Always({ChangeOf(intruder)})), HasReason("CONTENDED"));
  EXPECT_EQ(store_->ReadOrganization("acme").value()->display_name, "The acme");
}

TEST_P(KeyStoreContract, ARequestIdIsNeverUsedTwice) {
  const storage::LockPlan plan = {.request_scope = "s", .request_id = "r"};
  ASSERT_THAT(store_->Commit(plan, Always({ChangeOf(Key("k1"))}, "one")), IsOk());
  EXPECT_THAT(store_->Commit(plan, Always({ChangeOf(Key("k2"))}, "two")), HasReason("CONTENDED"));
  EXPECT_FALSE(store_->ReadKey("acme", "k2").value().has_value());
  EXPECT_EQ(Look(plan).replayed_name, "one");
}

}  // namespace
}  // namespace latchkey::contract
