#include "tests/storage/contract_fixture.h"
#include "tests/support/status_matchers.h"

// Rows of replica_lease and the pages that come with a beat.
namespace latchkey::contract {
namespace {

using ::latchkey::testing::HasReason;
using ::latchkey::testing::IsOk;
using ::testing::IsEmpty;
using ::testing::SizeIs;

std::vector<std::string> IdsOf(const std::vector<storage::Replica>& replicas) {
  std::vector<std::string> ids;
  for (const storage::Replica& replica : replicas) ids.push_back(replica.id);
  return ids;
}

TEST_P(KeyStoreContract, AReplicaThatEnteredHasAppliedNothingYet) {
  ASSERT_THAT(store_->EnterReplica("r1", "10.0.0.1:7411"), IsOk());
  const std::vector<storage::Replica> replicas = store_->ReadReplicas().value();
  ASSERT_THAT(replicas, SizeIs(1));
  EXPECT_EQ(replicas[0].id, "r1");
  EXPECT_EQ(replicas[0].doorbell, "10.0.0.1:7411");
  EXPECT_EQ(replicas[0].applied_revision, 0);
  EXPECT_EQ(replicas[0].acknowledged, storage::Acknowledgements());
  EXPECT_EQ(replicas[0].oldest_level, keys::kOldestLevel);
  EXPECT_EQ(replicas[0].newest_level, keys::kNewestLevel);
}

TEST_P(KeyStoreContract, AReplicaThatCannotReadTheLevelDoesNotEnter) {
  for (const int level : {keys::kOldestLevel - 1, keys::kNewestLevel + 1}) {
    GetParam().set_level(*store_, level);
    EXPECT_THAT(store_->EnterReplica("r", ""), HasReason("INTERNAL")) << level;
    EXPECT_THAT(store_->ReadReplicas().value(), IsEmpty());
  }
  GetParam().set_level(*store_, keys::kOldestLevel);
  EXPECT_THAT(store_->EnterReplica("r", ""), IsOk());
}

TEST_P(KeyStoreContract, ReplicasAreListedById) {
  for (const char* id : {"b", "a", "C"}) ASSERT_THAT(store_->EnterReplica(id, ""), IsOk());
  EXPECT_THAT(IdsOf(store_->ReadReplicas().value()), ::testing::ElementsAre("C", "a", "b"));
}

TEST_P(KeyStoreContract, EveryRenewalIsABeatWithWhatTheReplicaHasSeen) {
  ASSERT_THAT(store_->EnterReplica("r1", "host:1"), IsOk());
  ASSERT_THAT(store_->EnterReplica("r2", ""), IsOk());
  const int64_t beat = store_->ReadReplicas().value().at(0).beat;
  ASSERT_THAT(store_->RenewLease({"r1", 7, {.others = 5}}, 0, 2), IsOk());
  ASSERT_THAT(store_->RenewLease({"r1", 9, {.others = 8}}, 0, 2), IsOk());
  const std::vector<storage::Replica> replicas = store_->ReadReplicas().value();
  ASSERT_THAT(replicas, SizeIs(2));
  EXPECT_EQ(replicas[0].beat, beat + 2);
  EXPECT_EQ(replicas[0].applied_revision, 9);
  EXPECT_EQ(replicas[0].acknowledged, storage::Acknowledgements{.others = 8});
  EXPECT_EQ(replicas[0].doorbell, "host:1");
  EXPECT_EQ(replicas[1].applied_revision, 0) << "another replica's row was written";
}

TEST_P(KeyStoreContract, ARenewalSaysWhichOrganizationsClientsAreBehind) {
  const storage::Acknowledgements some{.others = 9, .behind = {{"acme", 5}, {"beta", 7}}};
  for (const char* id : {"r1", "r2"}) ASSERT_THAT(store_->EnterReplica(id, ""), IsOk());
  ASSERT_THAT(store_->RenewLease({"r1", 9, some}, 0, 2), IsOk());
  ASSERT_THAT(store_->RenewLease({"r2", 8, {.others = 8}}, 0, 2), IsOk());
  std::vector<storage::Replica> replicas = store_->ReadReplicas().value();
  ASSERT_THAT(replicas, SizeIs(2));
  EXPECT_EQ(replicas[0].acknowledged, some);
  EXPECT_EQ(replicas[1].acknowledged, storage::Acknowledgements{.others = 8});
  ASSERT_THAT(store_->RenewLease({"r1", 9, {.others = 9}}, 0, 2), IsOk());
  EXPECT_EQ(store_->ReadReplicas().value().at(0).acknowledged, storage::Acknowledgements{.others = 9});
}

TEST_P(KeyStoreContract, EnteringAgainKeepsTheBeatAndTakesTheNewDoorbell) {
  ASSERT_THAT(store_->EnterReplica("r1", "old:1"), IsOk());
  ASSERT_THAT(store_->RenewLease({"r1", 3, {.others = 2}}, 0, 2), IsOk());
  const storage::Replica before = store_->ReadReplicas().value().at(0);
  ASSERT_THAT(store_->EnterReplica("r1", "new:1"), IsOk());
  const std::vector<storage::Replica> after = store_->ReadReplicas().value();
  ASSERT_THAT(after, SizeIs(1));
  EXPECT_EQ(after[0].beat, before.beat);
  EXPECT_EQ(after[0].applied_revision, 3);
  EXPECT_EQ(after[0].doorbell, "new:1");
}

TEST_P(KeyStoreContract, ARenewalWithoutARowIsForgottenAndMakesNone) {
  EXPECT_THAT(store_->RenewLease({"stranger", 1, {.others = 1}}, 0, 2), HasReason("REPLICA_FORGOTTEN"));
  EXPECT_THAT(store_->ReadReplicas().value(), IsEmpty());
}

TEST_P(KeyStoreContract, ARenewalIsWrittenOnlyIntoALogThatHasItsRow) {
  Put({ChangeOf(Key("k1"))});
  ASSERT_THAT(store_->EnterReplica("r1", ""), IsOk());
  const std::vector<keys::LogRow> log = Log();
  const keys::LogRow& last = log.back();
  ASSERT_THAT(store_->RenewLease({"r1", last.rev, {.others = last.rev}, last.chain}, last.rev, 2), IsOk());
  const storage::Replica written = store_->ReadReplicas().value().at(0);
  EXPECT_EQ(written.applied_revision, last.rev);

  std::string other = last.chain;
  other[31] ^= 1;
  // Whether or not the replica has a row: what the page begins with says what is wrong.
  for (const char* replica : {"r1", "stranger"}) {
    const auto another = store_->RenewLease({replica, last.rev, {.others = last.rev}, other}, last.rev, 2);
    ASSERT_THAT(another, IsOk());
    EXPECT_EQ(another->rows.at(0).chain, last.chain);
    const auto missing =
        store_->RenewLease({replica, last.rev + 1, {.others = last.rev + 1}, last.chain}, last.rev + 1, 2);
    ASSERT_THAT(missing, IsOk());
    EXPECT_THAT(missing->rows, IsEmpty());
  }
  EXPECT_THAT(store_->RenewLease({"stranger", last.rev, {.others = last.rev}, last.chain}, last.rev, 2),
              HasReason("REPLICA_FORGOTTEN"));
  const std::vector<storage::Replica> after = store_->ReadReplicas().value();
  ASSERT_THAT(after, SizeIs(1));
  EXPECT_EQ(after[0].beat, written.beat);
  EXPECT_EQ(after[0].applied_revision, last.rev);
}

TEST_P(KeyStoreContract, AReplicaThatLeftIsGoneAndMayLeaveTwice) {
  ASSERT_THAT(store_->EnterReplica("r1", ""), IsOk());
  ASSERT_THAT(store_->EnterReplica("r2", ""), IsOk());
  EXPECT_THAT(store_->LeaveReplica("r1"), IsOk());
  EXPECT_THAT(store_->LeaveReplica("r1"), IsOk());
  EXPECT_THAT(IdsOf(store_->ReadReplicas().value()), ::testing::ElementsAre("r2"));
  EXPECT_THAT(store_->RenewLease({"r1", 0, {.others = 0}}, 0, 2), HasReason("REPLICA_FORGOTTEN"));
}

TEST_P(KeyStoreContract, AReplicaIsForgottenOnlyByTheBeatThatItStillHas) {
  ASSERT_THAT(store_->EnterReplica("r1", ""), IsOk());
  const int64_t seen = store_->ReadReplicas().value().at(0).beat;
  ASSERT_THAT(store_->RenewLease({"r1", 0, {.others = 0}}, 0, 2), IsOk());
  EXPECT_EQ(store_->ForgetReplica("r1", seen).value(), false);
  EXPECT_THAT(store_->ReadReplicas().value(), SizeIs(1));
  EXPECT_EQ(store_->ForgetReplica("r1", seen + 1).value(), true);
  EXPECT_THAT(store_->ReadReplicas().value(), IsEmpty());
  EXPECT_EQ(store_->ForgetReplica("r1", seen + 1).value(), true);
}

TEST_P(KeyStoreContract, EnteringForgetsNobodyHoweverFarTheWallClockHasGone) {
  for (const char* id : {"other", "self"}) ASSERT_THAT(store_->EnterReplica(id, ""), IsOk());
  GetParam().age(*store_, absl::Hours(24 * 365));
  for (const char* id : {"new", "self"}) ASSERT_THAT(store_->EnterReplica(id, ""), IsOk());
  EXPECT_THAT(IdsOf(store_->ReadReplicas().value()), ::testing::ElementsAre("new", "other", "self"));
  EXPECT_THAT(store_->RenewLease({"other", 1, {.others = 1}}, 0, 2), IsOk());
}

TEST_P(KeyStoreContract, ARenewalBringsThePageThatReadLogBrings) {
  for (int i = 0; i < 5; ++i) Put({ChangeOf(Key("k1"), ProvenSecret(1, 'A'))});
  ASSERT_THAT(store_->EnterReplica("r1", ""), IsOk());
  for (const int64_t cursor : {0, 2, 6, 1000}) {
    const storage::LogPage read = store_->ReadLog(cursor, 3).value();
    const storage::LogPage renewed = store_->RenewLease({"r1", cursor, cursor}, cursor, 3).value();
    EXPECT_EQ(renewed.head, read.head);
    EXPECT_EQ(renewed.oldest, read.oldest);
    EXPECT_GE(renewed.now, read.now);
    EXPECT_EQ(renewed.settings, read.settings);
    EXPECT_EQ(renewed.history, read.history);
    ASSERT_EQ(renewed.rows.size(), read.rows.size());
    for (size_t i = 0; i < read.rows.size(); ++i) {
      EXPECT_EQ(renewed.rows[i].rev, read.rows[i].rev);
      EXPECT_EQ(renewed.rows[i].at, read.rows[i].at);
      EXPECT_EQ(renewed.rows[i].body, read.rows[i].body);
      EXPECT_EQ(renewed.rows[i].chain, read.rows[i].chain);
    }
    EXPECT_EQ(renewed.proofs.size(), read.proofs.size());
  }
}

TEST_P(KeyStoreContract, ReadingTheLogIsNoBeat) {
  ASSERT_THAT(store_->EnterReplica("r1", ""), IsOk());
  const int64_t beat = store_->ReadReplicas().value().at(0).beat;
  ASSERT_THAT(store_->ReadLog(0, 10), IsOk());
  EXPECT_EQ(store_->ReadReplicas().value().at(0).beat, beat);
}

TEST_P(KeyStoreContract, TheChainAtARevisionIsItsRows) {
  Put({ChangeOf(Key("k1")), ChangeOf(Key("k2"))});
  for (const keys::LogRow& row : Log()) EXPECT_EQ(store_->ReadChain(row.rev).value(), row.chain) << row.rev;
  EXPECT_EQ(store_->ReadChain(Log().back().rev + 1).value(), std::nullopt);
  EXPECT_EQ(store_->ReadChain(-1).value(), std::nullopt);
}

}  // namespace
}  // namespace latchkey::contract
