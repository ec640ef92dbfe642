#include <set>

#include "absl/time/clock.h"
#include "tests/storage/contract_fixture.h"
#include "tests/support/memory_store/memory_key_store.h"
#include "tests/support/status_matchers.h"

// The faults that tests of the domain rely on.
namespace latchkey::contract {
namespace {

using ::latchkey::testing::HasReason;
using ::latchkey::testing::IsOk;

class MemoryKeyStoreFaults : public ::testing::Test {
 protected:
  void Put(const keys::Change& change) { ASSERT_THAT(store_.Commit(PlanFor({change}), Always({change})), IsOk()); }
  std::vector<keys::LogRow> Log() { return store_.ReadLog(0, 1000).value().rows; }

  storage::MemoryKeyStore store_{[] { return absl::Now(); }};
};

TEST_F(MemoryKeyStoreFaults, EveryCallIsUnavailableWhileItIsAway) {
  store_.SetUnavailable(true);
  EXPECT_THAT(store_.Commit({}, Always({})), HasReason("DATABASE_UNAVAILABLE"));
  Snapshot snapshot;
  EXPECT_THAT(store_.LoadSnapshot(snapshot), HasReason("DATABASE_UNAVAILABLE"));
  EXPECT_EQ(snapshot.begun, 0);
  EXPECT_THAT(store_.ReadLog(0, 2), HasReason("DATABASE_UNAVAILABLE"));
  EXPECT_THAT(store_.ReadKey("acme", "k"), HasReason("DATABASE_UNAVAILABLE"));
  EXPECT_THAT(store_.ReadSecrets("k"), HasReason("DATABASE_UNAVAILABLE"));
  EXPECT_THAT(store_.SettleKeyRingChecks({}), HasReason("DATABASE_UNAVAILABLE"));
  EXPECT_THAT(store_.ReadChain(0), HasReason("DATABASE_UNAVAILABLE"));
  EXPECT_THAT(store_.EnterReplica("r", ""), HasReason("DATABASE_UNAVAILABLE"));
  EXPECT_THAT(store_.LeaveReplica("r"), HasReason("DATABASE_UNAVAILABLE"));
  EXPECT_THAT(store_.ForgetReplica("r", 0), HasReason("DATABASE_UNAVAILABLE"));
  EXPECT_THAT(store_.RenewLease({"r", 0, 0}, 0, 2), HasReason("DATABASE_UNAVAILABLE"));
  EXPECT_THAT(store_.ReadReplicas(), HasReason("DATABASE_UNAVAILABLE"));
  EXPECT_THAT(store_.ReadSettings(), HasReason("DATABASE_UNAVAILABLE"));
  EXPECT_THAT(store_.PutProofs({{"k", 1, ProofOf(1, 'A')}}), HasReason("DATABASE_UNAVAILABLE"));
  EXPECT_THAT(store_.AddUses({storage::Use()}, {}), HasReason("DATABASE_UNAVAILABLE"));
  store_.SetUnavailable(false);
  EXPECT_THAT(store_.LoadSnapshot(snapshot), IsOk());
}

TEST_F(MemoryKeyStoreFaults, ALostReplyHidesACommitThatTookPlace) {
  const keys::Change change = ChangeOf(Organization("acme"));
  store_.LoseNextReply();
  EXPECT_THAT(store_.Commit(PlanFor({change}), Always({change})), HasReason("OUTCOME_UNKNOWN"));
  EXPECT_TRUE(store_.ReadOrganization("acme").value().has_value());
}

TEST_F(MemoryKeyStoreFaults, DroppedRowsTakeTheirEffectsAlong) {
  Put(ChangeOf(Organization("acme")));
  Put(ChangeOf(Key("k1"), Secret(1)));
  const std::vector<keys::LogRow> before = Log();
  keys::KeyRecord owner = Key("o", "system");
  owner.role = "owner";
  keys::KeyRecord renamed = Key("k1");
  renamed.display_name = "renamed";
  renamed.versions.clear();
  Put(ChangeOf(renamed));
  Put(ChangeOf(owner));
  Put(ChangeOf(Role("acme", "r")));
  store_.DropNewestRows(3);

  EXPECT_EQ(Log().back().chain, before.back().chain);
  EXPECT_EQ(store_.ReadKey("acme", "k1").value()->display_name, Key("k1").display_name);
  EXPECT_EQ(store_.ReadSecrets("k1").value().size(), 1u);
  EXPECT_FALSE(store_.ReadKey("acme", "o").value().has_value());
  EXPECT_TRUE(store_.ListRoles("acme", "", 1000).value().empty());
  Put(ChangeOf(Key("k2")));
  EXPECT_EQ(Flaw(Log()), "");
}

TEST_F(MemoryKeyStoreFaults, DroppedRowsTakeSettingsAndProofsAlong) {
  Put(ChangeOf(Organization("acme")));
  Put(ChangeOf(Key("k1"), ProvenSecret(1, 'A')));
  keys::KeyRecord rotated = Key("k1");
  rotated.versions = {Version(2, At(1))};
  Put(ChangeOf(rotated, ProvenSecret(2, 'A')));
  Put(ChangeOf(keys::Settings{.bound = absl::Seconds(9), .previous_bound = absl::Seconds(5), .changed_at = At(0)}));
  EXPECT_EQ(store_.ReadSettings()->bound, absl::Seconds(9));
  store_.DropNewestRows(2);
  EXPECT_EQ(store_.ReadSettings().value(), keys::Settings());
  const storage::LogPage page = store_.ReadLog(0, 100).value();
  ASSERT_EQ(page.proofs.size(), 1u);
  EXPECT_EQ(page.proofs[0].version, 1);
}

TEST_F(MemoryKeyStoreFaults, LostRowsARestartAndAnotherIdentityAreAnotherHistory) {
  Put(ChangeOf(Organization("acme")));
  std::set<core::HistoryId> histories = {store_.ReadLog(0, 2)->history};
  store_.DropNewestRows(0);
  histories.insert(store_.ReadLog(0, 2)->history);
  store_.Restart();
  histories.insert(store_.ReadLog(0, 2)->history);
  store_.ReplaceChain();
  histories.insert(store_.ReadLog(0, 2)->history);
  EXPECT_EQ(histories.size(), 4u);
}

TEST_F(MemoryKeyStoreFaults, ForgottenReplicasMustEnterAnew) {
  ASSERT_THAT(store_.EnterReplica("r", "host:1"), IsOk());
  EXPECT_THAT(store_.RenewLease({"r", 0, 0}, 0, 2), IsOk());
  store_.ForgetReplicas();
  EXPECT_TRUE(store_.ReadReplicas()->empty());
  EXPECT_THAT(store_.RenewLease({"r", 0, 0}, 0, 2), HasReason("REPLICA_FORGOTTEN"));
  ASSERT_THAT(store_.EnterReplica("r", "host:1"), IsOk());
  EXPECT_THAT(store_.RenewLease({"r", 0, 0}, 0, 2), IsOk());
}

TEST_F(MemoryKeyStoreFaults, RowsThatAreNoLongerKeptAreNotRead) {
  for (int i = 0; i < 4; ++i) Put(ChangeOf(Organization("acme")));
  EXPECT_EQ(store_.ReadLog(0, 100)->oldest, 0);
  store_.ForgetRowsBelow(2);
  const storage::LogPage page = store_.ReadLog(0, 100).value();
  EXPECT_EQ(page.oldest, 2);
  ASSERT_EQ(page.rows.size(), 3u);
  EXPECT_EQ(page.rows[0].rev, 2);
  EXPECT_EQ(store_.ReadChain(1).value(), std::nullopt);
  EXPECT_EQ(store_.ReadChain(2).value(), page.rows[0].chain);
}

TEST_F(MemoryKeyStoreFaults, AReplacedChainIsAnotherValidHistory) {
  Put(ChangeOf(Organization("acme")));
  const std::vector<keys::LogRow> before = Log();
  store_.ReplaceChain();
  const std::vector<keys::LogRow> after = Log();
  ASSERT_EQ(after.size(), before.size());
  for (size_t i = 0; i < after.size(); ++i) EXPECT_NE(after[i].chain, before[i].chain);
  EXPECT_EQ(Flaw(after), "");
}

}  // namespace
}  // namespace latchkey::contract
