#include "tests/storage/contract_fixture.h"
#include "tests/support/status_matchers.h"

// Uses and reports of uses.
namespace latchkey::contract {
namespace {

using ::latchkey::testing::IsOk;
using ::testing::SizeIs;

constexpr int kAllowed = 1;
constexpr int kDenied = 3;

storage::Use UseOf(const std::string& kid, int32_t version, int decision, int64_t count, absl::Time last_used_at) {
  storage::Use use;
  use.kid = kid;
  use.version = version;
  use.decision = decision;
  use.hour = absl::FromUnixSeconds(1'700'000'000 / 3600 * 3600);
  use.count = count;
  use.last_used_at = last_used_at;
  return use;
}

class Usage : public KeyStoreContract {
 protected:
  void SetUp() override {
    KeyStoreContract::SetUp();
    Put({ChangeOf(Key("k1"), Secret(1)), ChangeOf(Key("k2"), Secret(1))});
  }
  int64_t Count(const storage::Use& use) const { return GetParam().use_count(*store_, use); }
};

TEST_P(KeyStoreContract, AKeyThatWasNeverUsedSaysSo) {
  Put({ChangeOf(Key("k1"))});
  EXPECT_EQ(Stored("k1").last_used_at, absl::InfinitePast());
  EXPECT_EQ(Stored("k1").versions.at(0).last_used_at, absl::InfinitePast());
}

TEST_P(KeyStoreContract, TheLastUseOfAVersionIsTheVersionsAndTheKeys) {
  keys::KeyRecord key = Key("k1");
  key.versions = {Version(1, At(0)), Version(2, At(1))};
  Put({ChangeOf(key)});
  EXPECT_THAT(store_->AddUses({UseOf("k1", 1, kAllowed, 1, At(20)), UseOf("k1", 2, kAllowed, 1, At(10))}, {}), IsOk());
  const keys::KeyRecord read = Stored("k1");
  EXPECT_EQ(read.last_used_at, At(20));
  EXPECT_EQ(read.versions.at(0).last_used_at, At(20));
  EXPECT_EQ(read.versions.at(1).last_used_at, At(10));
  const std::vector<keys::KeyRecord> listed = store_->ListKeys({.organization = "acme"}).value();
  ASSERT_THAT(listed, SizeIs(1));
  EXPECT_EQ(listed[0], read);
}

TEST_P(KeyStoreContract, TheLastUseOfAVersionThatIsGoneStaysTheKeys) {
  keys::KeyRecord key = Key("k1");
  Put({ChangeOf(key)});
  ASSERT_THAT(store_->AddUses({UseOf("k1", 1, kAllowed, 1, At(20))}, {}), IsOk());
  key.versions = {Version(2, At(30))};
  Put({ChangeOf(key)});
  EXPECT_EQ(Stored("k1").last_used_at, At(20));
  EXPECT_EQ(Stored("k1").versions.at(0).last_used_at, absl::InfinitePast());
}

TEST_P(KeyStoreContract, TheLastUseOnlyMovesForward) {
  Put({ChangeOf(Key("k1"))});
  for (const int minute : {10, 5, 12, 11}) {
    ASSERT_THAT(store_->AddUses({UseOf("k1", 1, kAllowed, 1, At(minute))}, {}), IsOk());
  }
  EXPECT_EQ(Stored("k1").last_used_at, At(12));
  ASSERT_THAT(store_->AddUses({UseOf("k1", 1, kAllowed, 1, At(30)), UseOf("k1", 1, kAllowed, 1, At(20))}, {}), IsOk());
  EXPECT_EQ(Stored("k1").last_used_at, At(30));
}

TEST_P(KeyStoreContract, AUseThatWasDeniedIsCountedButIsNoLastUse) {
  Put({ChangeOf(Key("k1"))});
  const storage::Use denied = UseOf("k1", 1, kDenied, 4, absl::InfinitePast());
  ASSERT_THAT(store_->AddUses({denied}, {}), IsOk());
  EXPECT_EQ(Stored("k1").last_used_at, absl::InfinitePast());
  EXPECT_EQ(GetParam().use_count(*store_, denied), 4);
}

TEST_P(KeyStoreContract, UsesAreNoPartOfAnythingElse) {
  Put({ChangeOf(Key("k1"), ProvenSecret(1, 'A'))});
  const keys::KeyRecord before = Stored("k1");
  const size_t rows = Log().size();
  ASSERT_THAT(store_->AddUses({UseOf("k1", 1, kAllowed, 1, At(20))}, {}), IsOk());
  EXPECT_EQ(Look({.kids = {"k1"}}).keys.at("k1"), before) << "decide() was shown usage";
  EXPECT_THAT(Log(), SizeIs(rows));
  // An after-image that was read with its usage writes none.
  keys::KeyRecord image = before;
  image.last_used_at = image.versions[0].last_used_at = At(99);
  Put({ChangeOf(image)});
  EXPECT_EQ(Stored("k1").last_used_at, At(20));
}

TEST_P(Usage, CountsAddUpPerKeyVersionHourAndDecision) {
  const storage::Use use = UseOf("k1", 1, kAllowed, 3, At(0));
  storage::Use later = use;
  later.hour += absl::Hours(1);
  ASSERT_THAT(store_->AddUses({use, later, use, UseOf("k1", 2, kAllowed, 5, At(0)), UseOf("k1", 1, kDenied, 7, At(0)),
                               UseOf("k2", 1, kAllowed, 11, At(0))},
                              {}),
              IsOk());
  EXPECT_EQ(Count(use), 6);
  EXPECT_EQ(Count(later), 3);
  EXPECT_EQ(Count(UseOf("k1", 2, kAllowed, 0, At(0))), 5);
  EXPECT_EQ(Count(UseOf("k1", 1, kDenied, 0, At(0))), 7);
  EXPECT_EQ(Count(UseOf("k2", 1, kAllowed, 0, At(0))), 11);
  ASSERT_THAT(store_->AddUses({use}, {}), IsOk());
  EXPECT_EQ(Count(use), 9);
}

TEST_P(Usage, ACounterAtItsMaximumStaysThereAndHoldsUpNoOther) {
  const storage::Use full = UseOf("k1", 1, kAllowed, std::numeric_limits<int64_t>::max() - 1, At(0));
  const storage::Use more = UseOf("k1", 1, kAllowed, 2, At(0));
  const storage::Use other = UseOf("k2", 1, kAllowed, 3, At(0));
  ASSERT_THAT(store_->AddUses({full}, {}), IsOk());
  for (int i = 0; i < 2; ++i) ASSERT_THAT(store_->AddUses({more, other}, {}), IsOk());
  EXPECT_EQ(Count(more), std::numeric_limits<int64_t>::max());
  EXPECT_EQ(Count(other), 6);
  // Also within one batch.
  const storage::Use denied = UseOf("k1", 1, kDenied, std::numeric_limits<int64_t>::max(), At(0));
  ASSERT_THAT(store_->AddUses({denied}, {{"a", "id", {denied}}}), IsOk());
  EXPECT_EQ(Count(denied), std::numeric_limits<int64_t>::max());
}

TEST_P(Usage, UsesOfKeysThatDoNotExistAreDroppedAlone) {
  const storage::Use use = UseOf("k1", 1, kAllowed, 1, At(5));
  const storage::Use absent = UseOf("absent", 1, kAllowed, 1, At(5));
  const storage::Use odd = UseOf(std::string("k\0x", 3), 1, kAllowed, 1, At(5));
  EXPECT_THAT(store_->AddUses({absent, odd, use}, {}), IsOk());
  EXPECT_EQ(Count(use), 1);
  EXPECT_EQ(Count(absent), 0);
  Put({ChangeOf(Key("absent"))});
  EXPECT_EQ(Stored("absent").last_used_at, absl::InfinitePast());
}

TEST_P(Usage, AReportIsCountedOnceWhoeverRetriesIt) {
  const storage::Use use = UseOf("k1", 1, kAllowed, 2, At(5));
  const storage::UseReport report = {"reporter", "id-1", {use, use}};
  EXPECT_THAT(store_->AddUses({}, {report}), IsOk());
  EXPECT_THAT(store_->AddUses({}, {report}), IsOk());
  EXPECT_EQ(Count(use), 4);
  // Its own uses count although the report does not.
  EXPECT_THAT(store_->AddUses({use}, {report}), IsOk());
  EXPECT_EQ(Count(use), 6);
  EXPECT_EQ(Stored("k1").last_used_at, At(5));
}

TEST_P(Usage, ARequestIdBelongsToItsReporter) {
  const storage::Use use = UseOf("k1", 1, kAllowed, 1, At(5));
  EXPECT_THAT(store_->AddUses({}, {{"a", "id", {use}}, {"b", "id", {use}}, {"a", "id2", {use}}, {"a", "id", {use}}}),
              IsOk());
  EXPECT_EQ(Count(use), 3);
}

TEST_P(Usage, AReportIsRememberedForADay) {
  const storage::Use use = UseOf("k1", 1, kAllowed, 1, At(5));
  ASSERT_THAT(store_->AddUses({}, {{"a", "id", {use}}}), IsOk());
  GetParam().age(*store_, absl::Hours(23));
  ASSERT_THAT(store_->AddUses({}, {{"a", "id", {use}}}), IsOk());
  EXPECT_EQ(Count(use), 1);
  GetParam().age(*store_, absl::Hours(2));
  ASSERT_THAT(store_->AddUses({}, {{"a", "id", {use}}}), IsOk());
  EXPECT_EQ(Count(use), 2);
}

TEST_P(Usage, NothingToCountIsFine) {
  EXPECT_THAT(store_->AddUses({}, {}), IsOk());
  EXPECT_THAT(store_->AddUses({}, {{"a", "empty", {}}}), IsOk());
}

}  // namespace
INSTANTIATE_TEST_SUITE_P(Every, Usage, ::testing::ValuesIn(Implementations()), NameOf);
}  // namespace latchkey::contract
