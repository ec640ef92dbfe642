#include "server/model/change_codec.h"
#include "tests/storage/contract_fixture.h"
#include "tests/support/status_matchers.h"

// The change log and the snapshot.
namespace latchkey::contract {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

TEST_P(KeyStoreContract, RevisionZeroIsTheIdentityOfTheDatabase) {
  const std::unique_ptr<storage::KeyStore> fresh = GetParam().make();
  const storage::LogPage page = fresh->ReadLog(0, 10).value();
  EXPECT_EQ(page.head, 0);
  ASSERT_THAT(page.rows, SizeIs(1));
  EXPECT_EQ(page.rows[0].rev, 0);
  EXPECT_EQ(page.rows[0].body, "");
  EXPECT_THAT(page.rows[0].chain, SizeIs(32));
  EXPECT_NE(page.rows[0].chain, Log().at(0).chain) << "two databases have one identity";
}

TEST_P(KeyStoreContract, EverythingThatIsReadOrCommittedNamesItsHistory) {
  const core::HistoryId history = store_->ReadLog(0, 2)->history;
  EXPECT_NE(history, core::kNoHistory);
  const std::vector<keys::Change> changes = {ChangeOf(Role("acme", "r"))};
  const auto committed = store_->Commit(PlanFor(changes), Always(changes));
  ASSERT_THAT(committed, latchkey::testing::IsOk());
  EXPECT_EQ(committed->history, history);
  EXPECT_EQ(TakeSnapshot().head.history, history);
  EXPECT_EQ(store_->ReadLog(1, 2)->history, history);
  const std::unique_ptr<storage::KeyStore> another = GetParam().make();
  EXPECT_NE(another->ReadLog(0, 2)->history, history) << "two databases have one history";
}

TEST_P(KeyStoreContract, SystemIsThereFromTheStart) {
  store_ = GetParam().make();
  const Snapshot snapshot = TakeSnapshot();
  EXPECT_EQ(snapshot.position.rev, 0);
  ASSERT_THAT(snapshot.organizations, SizeIs(1));
  EXPECT_EQ(snapshot.organizations[0].id, "system");
  EXPECT_EQ(snapshot.organizations[0].display_name, "System");
  EXPECT_FALSE(snapshot.organizations[0].deleted());
  EXPECT_THAT(snapshot.roles, IsEmpty());
  EXPECT_THAT(snapshot.keys, IsEmpty());
}

TEST_P(KeyStoreContract, ACommitReturnsItsOwnRowsOldestFirst) {
  Put({ChangeOf(Key("k0"))});
  const int64_t head = Log().back().rev;
  const std::vector<keys::Change> changes = {ChangeOf(Key("k1")), ChangeOf(Role("acme", "r")), ChangeOf(Key("k2"))};
  const std::vector<keys::LogRow> rows = Put(changes);
  ASSERT_THAT(rows, SizeIs(3));
  for (size_t i = 0; i < rows.size(); ++i) {
    EXPECT_EQ(rows[i].rev, head + 1 + static_cast<int64_t>(i));
    EXPECT_EQ(rows[i].body, changes[i].body);
  }
  const std::vector<keys::LogRow> log = Log();
  EXPECT_EQ(log.back().chain, rows.back().chain);
  EXPECT_EQ(log.back().at, rows.back().at);
}

TEST_P(KeyStoreContract, BodiesAreKeptByteForByteAndChained) {
  keys::Change change = ChangeOf(Key("k1"));
  change.body = std::string("'; DROP TABLE keys; --\0\\x00\xff\"\n$$", 32);
  const std::string body = change.body;
  Put({change});
  EXPECT_EQ(Log().back().body, body);
  EXPECT_EQ(Flaw(Log()), "");
}

TEST_P(KeyStoreContract, TheChainIsTheOneOfTheCodec) {
  for (int i = 0; i < 5; ++i) Put({ChangeOf(Key("k1", "acme", i)), ChangeOf(Organization("acme"))});
  EXPECT_THAT(Log(), SizeIs(12));
  EXPECT_EQ(Flaw(Log()), "");
}

TEST_P(KeyStoreContract, AFollowerDecodesWhatWasStored) {
  Put({ChangeOf(Key("k1"))});
  const absl::StatusOr<keys::Change> change = keys::DecodeBody(Log().back());
  ASSERT_THAT(change, latchkey::testing::IsOk());
  EXPECT_EQ(change->key, Stored("k1"));
}

TEST_P(KeyStoreContract, ALogPageStartsAtTheCursorAndEndsAtTheLimit) {
  for (int i = 0; i < 5; ++i) Put({ChangeOf(Key("k1"))});
  const std::vector<keys::LogRow> log = Log();
  const storage::LogPage page = store_->ReadLog(2, 3).value();
  EXPECT_EQ(page.head, log.back().rev);
  ASSERT_THAT(page.rows, SizeIs(3));
  EXPECT_EQ(page.rows[0].rev, 2);
  EXPECT_EQ(page.rows[0].chain, log[2].chain);
  EXPECT_EQ(page.rows[2].rev, 4);

  const storage::LogPage at_head = store_->ReadLog(page.head, 3).value();
  ASSERT_THAT(at_head.rows, SizeIs(1));
  EXPECT_EQ(at_head.rows[0].rev, page.head);
  EXPECT_LE(page.now, at_head.now);
}

TEST_P(KeyStoreContract, ALogPagePastTheHeadIsEmptyAndSaysWhereTheHeadIs) {
  const storage::LogPage page = store_->ReadLog(1000, 10).value();
  EXPECT_EQ(page.head, Log().back().rev);
  EXPECT_THAT(page.rows, IsEmpty());
}

TEST_P(KeyStoreContract, ASnapshotShowsEverythingAtItsRevision) {
  keys::KeyRecord dead = Key("dead");
  dead.deleted_at = At(1);
  keys::OrganizationRecord gone = Organization("gone");
  gone.deleted_at = At(1);
  Put({ChangeOf(gone), ChangeOf(Role("acme", "reader")), ChangeOf(Key("k1")), ChangeOf(dead)});
  const Snapshot snapshot = TakeSnapshot();
  EXPECT_EQ(snapshot.position.rev, Log().back().rev);
  EXPECT_EQ(snapshot.position.chain, Log().back().chain);
  EXPECT_THAT(snapshot.keys, ::testing::UnorderedElementsAre(ShownOf(Key("k1")), ShownOf(dead)));
  EXPECT_THAT(snapshot.roles, ElementsAre(store_->ListRoles("acme", "", 1000).value().at(0)));
  EXPECT_THAT(snapshot.organizations, ::testing::UnorderedElementsAre(*store_->ReadOrganization("acme").value(),
                                                                      *store_->ReadOrganization("gone").value(),
                                                                      *store_->ReadOrganization("system").value()));
  EXPECT_LE(snapshot.head.now, Look({}).now);
}

}  // namespace
}  // namespace latchkey::contract
