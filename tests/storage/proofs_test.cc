#include <set>
#include <string>

#include "tests/storage/contract_fixture.h"
#include "tests/support/status_matchers.h"

// Proofs: with a secret, beside the log, in snapshots and pages.
namespace latchkey::contract {
namespace {

using ::latchkey::testing::IsOk;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

keys::Proof StoredProof(storage::KeyStore& store, const std::string& kid, size_t i = 0) {
  return store.ReadSecrets(kid).value().at(i).proof;
}

TEST_P(KeyStoreContract, AProofIsStoredWithItsSecret) {
  Put({ChangeOf(Key("k1"), ProvenSecret(1, 'A')), ChangeOf(Key("k2"), Secret(1))});
  EXPECT_EQ(StoredProof(*store_, "k1"), ProofOf(1, 'A'));
  EXPECT_FALSE(StoredProof(*store_, "k2"));
}

TEST_P(KeyStoreContract, AProofGoesWithItsVersion) {
  keys::KeyRecord key = Key("k1");
  Put({ChangeOf(key, ProvenSecret(1, 'A'))});
  key.versions = {Version(2, At(1))};
  Put({ChangeOf(key, Secret(2))});
  ASSERT_THAT(store_->ReadSecrets("k1").value(), SizeIs(1));
  EXPECT_FALSE(StoredProof(*store_, "k1"));
  EXPECT_THAT(store_->ReadLog(0, 100)->proofs, IsEmpty());
}

TEST_P(KeyStoreContract, AProofDoesNotOutliveTheSecretThatItProves) {
  Put({ChangeOf(Key("k1"), ProvenSecret(1, 'A'))});
  Put({ChangeOf(Key("k1"), Secret(1))});
  EXPECT_FALSE(StoredProof(*store_, "k1"));
  Put({ChangeOf(Key("k1"), ProvenSecret(1, 'A'))});
  keys::NewSecret other = ProvenSecret(1, 'A');
  other.proof.digest[15] = 'x';
  Put({ChangeOf(Key("k1"), other)});
  EXPECT_EQ(StoredProof(*store_, "k1"), other.proof);
}

TEST_P(KeyStoreContract, AChangeWithoutASecretLeavesTheProof) {
  Put({ChangeOf(Key("k1"), ProvenSecret(1, 'A'))});
  Put({ChangeOf(Key("k1"))});
  EXPECT_EQ(StoredProof(*store_, "k1"), ProofOf(1, 'A'));
}

TEST_P(KeyStoreContract, ProofsArePutLaterInOneGo) {
  keys::KeyRecord key = Key("k1");
  key.versions = {Version(1, At(0)), Version(2, At(1))};
  Put({ChangeOf(key, Secret(1))});
  Put({ChangeOf(key, Secret(2)), ChangeOf(Key("k0"), Secret(1))});
  const int64_t revision = Stored("k1").revision;
  EXPECT_THAT(store_->PutProofs({{"k1", 2, ProofOf(2, 'A')}, {"k0", 1, ProofOf(1, 'B')}, {"k1", 1, ProofOf(1, 'A')}}),
              IsOk());
  EXPECT_EQ(StoredProof(*store_, "k1", 0), ProofOf(1, 'A'));
  EXPECT_EQ(StoredProof(*store_, "k1", 1), ProofOf(2, 'A'));
  EXPECT_EQ(StoredProof(*store_, "k0"), ProofOf(1, 'B'));
  EXPECT_EQ(Stored("k1").revision, revision) << "a proof is no change of the key";
}

TEST_P(KeyStoreContract, AProofOfAVersionThatIsGoneIsDroppedAlone) {
  Put({ChangeOf(Key("k1"), Secret(1))});
  EXPECT_THAT(
      store_->PutProofs({{"absent", 1, ProofOf(1, 'A')}, {"k1", 2, ProofOf(2, 'A')}, {"k1", 1, ProofOf(1, 'A')}}),
      IsOk());
  EXPECT_EQ(StoredProof(*store_, "k1"), ProofOf(1, 'A'));
  EXPECT_THAT(store_->ReadLog(0, 100)->proofs, SizeIs(1));
}

TEST_P(KeyStoreContract, AProofOfAnotherGenerationReplacesOneOfItsOwnStays) {
  Put({ChangeOf(Key("k1"), ProvenSecret(1, 'A'))});
  keys::Proof forged = ProofOf(1, 'A');
  forged.digest[15] = 'x';
  ASSERT_THAT(store_->PutProofs({{"k1", 1, forged}}), IsOk());
  EXPECT_EQ(StoredProof(*store_, "k1"), ProofOf(1, 'A'));
  ASSERT_THAT(store_->PutProofs({{"k1", 1, ProofOf(1, 'b')}}), IsOk());
  EXPECT_EQ(StoredProof(*store_, "k1"), ProofOf(1, 'b'));
}

TEST_P(KeyStoreContract, OfTwoProofsForOneVersionTheLaterCountsAndEmptyOnesArePassedOver) {
  Put({ChangeOf(Key("k1"), Secret(1))});
  EXPECT_THAT(store_->PutProofs({}), IsOk());
  EXPECT_THAT(store_->PutProofs({{"k1", 1, keys::Proof()}}), IsOk());
  EXPECT_FALSE(StoredProof(*store_, "k1"));
  EXPECT_THAT(store_->PutProofs({{"k1", 1, ProofOf(1, 'A')}, {"k1", 1, ProofOf(1, 'B')}, {"k1", 1, keys::Proof()}}),
              IsOk());
  EXPECT_EQ(StoredProof(*store_, "k1"), ProofOf(1, 'B'));
}

TEST_P(KeyStoreContract, APageBringsTheProofsOfItsKeysOnce) {
  keys::KeyRecord key = Key("k1");
  key.versions = {Version(1, At(0)), Version(2, At(1))};
  Put({ChangeOf(Key("other"), ProvenSecret(1, 'A'))});
  const int64_t before = Log().back().rev;
  Put({ChangeOf(key, ProvenSecret(1, 'A'))});
  Put({ChangeOf(key, ProvenSecret(2, 'A'))});
  Put({ChangeOf(Key("bare"), Secret(1))});
  const storage::LogPage page = store_->ReadLog(before + 1, 100).value();
  ASSERT_THAT(page.proofs, SizeIs(2));
  for (const keys::KeyProof& proof : page.proofs) {
    EXPECT_EQ(proof.kid, "k1");
    EXPECT_EQ(proof.proof, ProofOf(proof.version, 'A'));
  }
  EXPECT_NE(page.proofs[0].version, page.proofs[1].version);
  EXPECT_THAT(store_->ReadLog(before, 100)->proofs, SizeIs(3));
}

TEST_P(KeyStoreContract, ASnapshotShowsEveryVersionWithItsProof) {
  keys::KeyRecord key = Key("k1");
  key.versions = {Version(1, At(0), At(9)), Version(2, At(1)), Version(10, At(2))};
  keys::KeyRecord bare = Key("k0");
  bare.versions.clear();
  bare.labels.clear();
  bare.allowed_cidrs.clear();
  bare.expires_at = keys::Never();
  Put({ChangeOf(key, ProvenSecret(2, 'A')), ChangeOf(bare), ChangeOf(Key("k2"), ProvenSecret(1, 'z'))});
  ShownKey first = ShownOf(bare);
  ShownKey second = ShownOf(key);
  second.versions[1].proof = ProofOf(2, 'A');
  ShownKey third = ShownOf(Key("k2"));
  third.versions[0].proof = ProofOf(1, 'z');
  const Snapshot snapshot = TakeSnapshot();
  EXPECT_THAT(snapshot.keys, ::testing::UnorderedElementsAre(first, second, third));
  EXPECT_EQ(snapshot.key_count, 3);
}

TEST_P(KeyStoreContract, ASnapshotKeepsOddTextAsItIs) {
  keys::KeyRecord key = Key("k1");
  key.display_name = "tab\there \\N \\x41 line\nend\r";
  key.owner = std::string("\x01\x1f\x7f", 3);
  key.labels = {{"bb", "\b\f\n\r\t\"\\/"}, {"a", "\x01\x1f\x7f ü 東京 {\"x\": [1]}, :"}, {"", ""}, {"z\"", "\\\""}};
  key.role = "";
  Put({ChangeOf(key)});
  EXPECT_THAT(TakeSnapshot().keys, ElementsAre(ShownOf(key)));
  EXPECT_EQ(Stored("k1").labels, key.labels);
}

TEST_P(KeyStoreContract, ASnapshotOfManyKeysHasEachOnce) {
  std::vector<keys::Change> changes;
  for (int i = 0; i < 3000; ++i) changes.push_back(ChangeOf(Key("k" + std::to_string(i * 7919)), ProvenSecret(1, 'A')));
  Put(changes);
  const Snapshot snapshot = TakeSnapshot();
  EXPECT_EQ(snapshot.key_count, 3000);
  EXPECT_EQ(snapshot.begun, 1);
  std::set<std::string> kids;
  for (const ShownKey& key : snapshot.keys) {
    kids.insert(key.kid);
    ASSERT_THAT(key.versions, SizeIs(1));
    EXPECT_EQ(key.versions[0].proof, ProofOf(1, 'A'));
  }
  EXPECT_EQ(snapshot.keys.size(), 3000u);
  EXPECT_EQ(kids.size(), 3000u);
}

}  // namespace
}  // namespace latchkey::contract
