#include "tests/storage/contract_fixture.h"
#include "tests/support/status_matchers.h"

// What holds for the whole installation.
namespace latchkey::contract {
namespace {

using ::latchkey::testing::HasReason;
using ::latchkey::testing::IsOk;
using ::testing::SizeIs;

keys::Settings SettingsOf(int bound, int previous_bound) {
  return {.bound = absl::Seconds(bound), .previous_bound = absl::Seconds(previous_bound), .changed_at = At(7)};
}

TEST_P(KeyStoreContract, TheBoundIsFiveSecondsUntilItIsChanged) {
  EXPECT_EQ(store_->ReadSettings().value(), keys::Settings());
  EXPECT_EQ(keys::Settings().bound, absl::Seconds(5));
  EXPECT_EQ(store_->ReadLog(0, 2)->settings, keys::Settings());
  EXPECT_EQ(TakeSnapshot().head.settings, keys::Settings());
  EXPECT_EQ(Look({}).settings, keys::Settings());
}

TEST_P(KeyStoreContract, ChangedSettingsAreALoggedMutationAndShownEverywhere) {
  const keys::Change change = ChangeOf(SettingsOf(10, 5));
  const std::vector<keys::LogRow> rows = Put({change});
  ASSERT_THAT(rows, SizeIs(1));
  EXPECT_EQ(rows[0].body, change.body);
  EXPECT_EQ(Flaw(Log()), "");
  EXPECT_EQ(store_->ReadSettings().value(), SettingsOf(10, 5));
  EXPECT_EQ(store_->ReadLog(0, 2)->settings, SettingsOf(10, 5));
  EXPECT_EQ(TakeSnapshot().head.settings, SettingsOf(10, 5));
  EXPECT_EQ(Look({}).settings, SettingsOf(10, 5));
  ASSERT_THAT(store_->EnterReplica("r", ""), IsOk());
  EXPECT_EQ(store_->RenewLease({"r", 0, 0}, 0, 2)->settings, SettingsOf(10, 5));
}

TEST_P(KeyStoreContract, SettingsOutsideTheirLimitsAreRefused) {
  const size_t rows = Log().size();
  for (const keys::Settings& settings : {SettingsOf(1, 5), SettingsOf(61, 5), SettingsOf(5, 61), SettingsOf(5, 0)}) {
    EXPECT_THAT(store_->Commit({}, Always({ChangeOf(settings)})), HasReason("INTERNAL"));
  }
  EXPECT_EQ(store_->ReadSettings().value(), keys::Settings());
  EXPECT_THAT(Log(), SizeIs(rows));
  Put({ChangeOf(SettingsOf(2, 60))});
}

TEST_P(KeyStoreContract, SettingsThatDoNotKnowOfTheLongerBoundBeforeThemAreContended) {
  Put({ChangeOf(SettingsOf(30, 5))});
  EXPECT_THAT(store_->Commit({}, Always({ChangeOf(SettingsOf(4, 5))})), HasReason("CONTENDED"));
  EXPECT_EQ(store_->ReadSettings()->bound, absl::Seconds(30));
  Put({ChangeOf(SettingsOf(4, 30))});
  // Another shortening soon after may still have to wait for the longest.
  Put({ChangeOf(SettingsOf(3, 30))});
  EXPECT_EQ(store_->ReadSettings().value(), SettingsOf(3, 30));
}

// --- The feature level.

keys::Settings OfLevel(int level) {
  keys::Settings settings = SettingsOf(5, 5);
  settings.level = level;
  return settings;
}

TEST_P(KeyStoreContract, AFreshInstallationIsAtTheNewestLevel) {
  EXPECT_EQ(store_->ReadSettings()->level, keys::kNewestLevel);
}

TEST_P(KeyStoreContract, ARaisedLevelIsShownEverywhere) {
  GetParam().set_level(*store_, 2);
  ASSERT_THAT(store_->EnterReplica("r", ""), IsOk());
  Put({ChangeOf(OfLevel(3))});
  EXPECT_EQ(store_->ReadSettings()->level, 3);
  EXPECT_EQ(store_->ReadLog(0, 2)->settings.level, 3);
  EXPECT_EQ(TakeSnapshot().head.settings.level, 3);
  EXPECT_EQ(Look({}).settings.level, 3);
  EXPECT_EQ(store_->RenewLease({"r", 0, 0}, 0, 2)->settings.level, 3);
}

TEST_P(KeyStoreContract, ALevelNeverFalls) {
  EXPECT_THAT(store_->Commit({}, Always({ChangeOf(OfLevel(2))})), HasReason("CONTENDED"));
  EXPECT_EQ(store_->ReadSettings()->level, 3);
}

TEST_P(KeyStoreContract, ALevelDoesNotRiseAboveWhatAReplicaReads) {
  GetParam().set_level(*store_, 2);
  GetParam().enter_release_zero(*store_, "old");
  ASSERT_THAT(store_->EnterReplica("new", ""), IsOk());
  const size_t rows = Log().size();
  EXPECT_THAT(store_->Commit({}, Always({ChangeOf(OfLevel(3))})), HasReason("CONTENDED"));
  EXPECT_EQ(store_->ReadSettings()->level, 2);
  EXPECT_THAT(Log(), SizeIs(rows));
  // The bound is not the level.
  keys::Settings other_bound = SettingsOf(4, 5);
  other_bound.level = 2;
  Put({ChangeOf(other_bound)});
  ASSERT_THAT(store_->LeaveReplica("old"), IsOk());
  Put({ChangeOf(OfLevel(3))});
  EXPECT_EQ(store_->ReadSettings()->level, 3);
}

TEST_P(KeyStoreContract, NothingIsWrittenAtALevelThatThisBuildDoesNotRead) {
  GetParam().set_level(*store_, keys::kNewestLevel + 1);
  const size_t rows = Log().size();
  EXPECT_THAT(store_->Commit({}, Always({ChangeOf(Organization("late"))})), HasReason("LEVEL_UNREADABLE"));
  EXPECT_THAT(Log(), SizeIs(rows));
}

TEST_P(KeyStoreContract, AChangeThatNeedsAHigherLevelIsNotWritten) {
  GetParam().set_level(*store_, 1);
  keys::KeyRecord anywhere = Key("anywhere");
  anywhere.allowed_cidrs.clear();
  const keys::Change narrowed = ChangeOf(Key("narrowed"));
  Put({ChangeOf(anywhere)});
  const size_t rows = Log().size();
  const absl::StatusOr<storage::Committed> refused =
      store_->Commit(PlanFor({narrowed}), Always({ChangeOf(anywhere), narrowed}));
  EXPECT_THAT(refused, latchkey::testing::IsError(absl::StatusCode::kFailedPrecondition, "UPGRADE_UNFINISHED"));
  EXPECT_THAT(Log(), SizeIs(rows));
  EXPECT_EQ(store_->ReadKey("acme", "narrowed").value(), std::nullopt);
  GetParam().set_level(*store_, 2);
  Put({narrowed});
}

}  // namespace
}  // namespace latchkey::contract
