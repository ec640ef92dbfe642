#include "server/keys/replication/key_index.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <malloc.h>

#include <algorithm>
#include <atomic>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "server/model/built_in_roles.h"

namespace latchkey::keys {
namespace {

using ::testing::ElementsAre;
using ::testing::Pair;

std::string KidOf(int64_t i) { return absl::StrFormat("%016d", i); }
LogPosition At(int64_t rev) { return {rev, absl::StrCat(absl::StrFormat("%08d", rev), std::string(24, 'c'))}; }
base::BootTime Boot(int64_t seconds) { return base::BootTime::FromNanoseconds(seconds * 1'000'000'000); }
Proof MakeProof(char generation, char digit) {
  Proof proof;
  proof.ring_id = generation;
  proof.digest.fill(digit);
  return proof;
}

KeyRecord MakeKey(const std::string& kid, const std::string& organization, const std::string& role) {
  KeyRecord key;
  key.organization = organization;
  key.kid = kid;
  key.display_name = "a key";
  key.role = role;
  key.versions.push_back({});
  return key;
}
OrganizationRecord MakeOrganization(const std::string& id, const std::string& display_name) {
  OrganizationRecord organization;
  organization.id = id;
  organization.display_name = display_name;
  return organization;
}
RoleRecord MakeRole(const std::string& organization, const std::string& id, std::vector<std::string> permissions) {
  RoleRecord role;
  role.organization = organization;
  role.id = id;
  role.permissions = std::move(permissions);
  return role;
}

SecretVersion VersionOf(int32_t id, absl::Time expires_at = Never()) {
  SecretVersion version;
  version.id = id;
  version.expires_at = expires_at;
  return version;
}

Change ChangeOf(const KeyRecord& key) {
  Change change;
  change.key = key;
  return change;
}
Change ChangeOf(const OrganizationRecord& organization) {
  Change change;
  change.organization = organization;
  return change;
}
Change ChangeOf(const RoleRecord& role) {
  Change change;
  change.role = role;
  return change;
}

// Applies changes at the revisions after the index's.
void Put(KeyIndex& index, const Change& change, const std::vector<KeyProof>& proofs = {}) {
  index.Apply(At(index.position().rev + 1), change, proofs);
}

// Adds a key as a snapshot shows it.
void AddTo(KeyIndex::SnapshotLoader& load, const std::string& kid, const std::string& organization,
           const std::string& role, const std::string& display_name = "a key", const Proof& proof = {}) {
  const storage::SnapshotVersion version{.id = 1, .expires_at = Never(), .proof = proof};
  storage::SnapshotKey key;
  key.organization = organization;
  key.kid = kid;
  key.display_name = display_name;
  key.role = role;
  key.versions = absl::MakeConstSpan(&version, 1);
  load.Add(key);
}

TEST(KeyIndex, AKeyIsShownAsItsLastChangeSays) {
  KeyIndex index;
  KeyRecord key = MakeKey(KidOf(1), "acme", "editor");
  key.display_name = "ci";
  key.owner = "alice";
  key.labels = {{"empty", ""}, {"env", "prod"}, {"tier", "1"}};
  key.allowed_cidrs = {"10.0.0.0/8", "2001:db8::/32"};
  key.expires_at = absl::FromUnixSeconds(2'000'000'000);
  key.versions = {VersionOf(1, absl::FromUnixMicros(1'900'000'000'000'001)), VersionOf(2)};
  Put(index, ChangeOf(key));
  {
    const KeyIndex::Pin pin(index);
    const IndexedKey* const shown = pin.FindKey(KidOf(1));
    ASSERT_NE(shown, nullptr);
    EXPECT_EQ(shown->kid(), KidOf(1));
    EXPECT_EQ(shown->display_name(), "ci");
    EXPECT_EQ(shown->owner(), "alice");
    EXPECT_THAT(shown->labels(), ElementsAre(Pair("empty", ""), Pair("env", "prod"), Pair("tier", "1")));
    ASSERT_EQ(shown->allowed_cidrs().size(), 2u);
    EXPECT_EQ(shown->allowed_cidrs()[0].ToString(), "10.0.0.0/8");
    EXPECT_EQ(shown->allowed_cidrs()[1].ToString(), "2001:db8::/32");
    EXPECT_EQ(shown->expires_at(), key.expires_at);
    EXPECT_EQ(shown->purge_at(), Never());
    EXPECT_FALSE(shown->deleted());
    ASSERT_EQ(shown->version_count(), 2);
    EXPECT_EQ(shown->version(0).id, 1);
    EXPECT_EQ(shown->version(0).expires_at, key.versions[0].expires_at);
    EXPECT_EQ(shown->version(1).id, 2);
    EXPECT_EQ(shown->version(1).expires_at, Never());
    EXPECT_FALSE(shown->version(0).proof);
  }

  key.deleted_at = absl::FromUnixSeconds(1'800'000'000);
  key.purge_at = absl::FromUnixSeconds(1'900'000'000);
  key.display_name = "";
  Put(index, ChangeOf(key));
  const KeyIndex::Pin pin(index);
  const IndexedKey* const shown = pin.FindKey(KidOf(1));
  ASSERT_NE(shown, nullptr);
  EXPECT_TRUE(shown->deleted());
  EXPECT_EQ(shown->purge_at(), key.purge_at);
  EXPECT_EQ(shown->display_name(), "");
  EXPECT_EQ(shown->owner(), "alice");
  EXPECT_EQ(index.key_count(), 1u);
}

TEST(KeyIndex, OnlyTheWholeKidFindsAKey) {
  KeyIndex index;
  Put(index, ChangeOf(MakeKey("abcdefghijklmnop", "acme", "editor")));
  Put(index, ChangeOf(MakeKey("short", "acme", "editor")));
  const KeyIndex::Pin pin(index);
  EXPECT_NE(pin.FindKey("abcdefghijklmnop"), nullptr);
  EXPECT_NE(pin.FindKey("short"), nullptr);
  for (const char* kid : {"", "abcdefghijklmno", "abcdefghijklmnopq", "abcdefghijklmnoq", "shor", "short "}) {
    EXPECT_EQ(pin.FindKey(kid), nullptr) << kid;
  }
}

TEST(KeyIndex, AnAddressBlockThatCanNotBeReadAllowsNobody) {
  KeyIndex index;
  KeyRecord key = MakeKey(KidOf(1), "acme", "editor");
  key.allowed_cidrs = {"somewhere"};
  Put(index, ChangeOf(key));
  const KeyIndex::Pin pin(index);
  const auto cidrs = pin.FindKey(KidOf(1))->allowed_cidrs();
  ASSERT_EQ(cidrs.size(), 1u);  // None would be anywhere.
  for (const char* ip : {"10.0.0.1", "127.0.0.1", "0.0.0.0", "2001:db8::1", "::1"}) {
    EXPECT_FALSE(cidrs[0].Contains(*core::ParseIp(ip))) << ip;
  }
}

TEST(KeyIndex, BeforeTheFirstLoadThereIsNothing) {
  const KeyIndex index;
  const KeyIndex::Pin pin(index);
  EXPECT_EQ(pin.snapshot().lease_until, base::BootTime::Never());
  EXPECT_EQ(pin.snapshot().revision, 0);
  EXPECT_EQ(index.position().chain, "");
  EXPECT_EQ(pin.FindKey(KidOf(1)), nullptr);
  EXPECT_EQ(pin.FindOrganization("acme"), nullptr);
  EXPECT_EQ(pin.FindRole("acme", "deployer"), nullptr);
  EXPECT_NE(pin.FindRole("acme", kOwnerRole), nullptr);
}

TEST(KeyIndex, RevisionAndChainAreThoseOfTheLastRow) {
  KeyIndex index;
  Put(index, ChangeOf(MakeOrganization("acme", "Acme")));
  Change settings;
  settings.settings = Settings();
  Put(index, settings);
  EXPECT_EQ(index.position().rev, 2);
  EXPECT_EQ(index.position().chain, At(2).chain);
  EXPECT_EQ(index.Read().revision, 2);
  EXPECT_EQ(index.Read().chain, core::RevisionToken::Of(2, At(2).chain).chain);
}

TEST(KeyIndex, TheLeaseNeverGoesBackButByEndLeaseAndLoad) {
  KeyIndex index;
  const absl::Time now = absl::FromUnixSeconds(1'700'000'000);
  index.Extend(Boot(10), now, Boot(5));
  index.Extend(Boot(9), now + absl::Seconds(1), Boot(6));
  EXPECT_EQ(index.Read().lease_until, Boot(10));
  EXPECT_EQ(index.Read().DatabaseTimeAt(Boot(8)), now + absl::Seconds(3));
  Put(index, ChangeOf(MakeOrganization("acme", "Acme")));
  EXPECT_EQ(index.Read().lease_until, Boot(10));
  index.EndLease();
  EXPECT_EQ(index.Read().lease_until, base::BootTime::Never());
  index.Extend(Boot(3), now, Boot(1));
  EXPECT_EQ(index.Read().lease_until, Boot(3));

  KeyIndex::SnapshotLoader load(index);
  load.Begin(At(7), 0);
  EXPECT_EQ(index.Read().lease_until, Boot(3));
  load.Publish();
  EXPECT_EQ(index.Read().lease_until, base::BootTime::Never());
}

TEST(KeyIndex, TheDatabasesTimeNeverGoesBackAndGoesOnOnceItsClockHasCaughtUp) {
  KeyIndex index;
  const absl::Time noon = absl::FromUnixSeconds(1'700'000'000);
  index.Extend(Boot(10), noon, Boot(5), Boot(5));
  // Set back by 100 s; until the answer came at 8, readers saw time go on.
  index.Extend(Boot(12), noon + absl::Seconds(1) - absl::Seconds(100), Boot(6), Boot(8));
  EXPECT_EQ(index.Read().DatabaseTimeAt(Boot(8)), noon + absl::Seconds(3));
  EXPECT_EQ(index.Read().DatabaseTimeAt(Boot(9)), noon + absl::Seconds(3)) << "it stands still";
  index.Extend(Boot(60), noon + absl::Seconds(50) - absl::Seconds(100), Boot(55), Boot(55));
  EXPECT_EQ(index.Read().DatabaseTimeAt(Boot(55)), noon + absl::Seconds(3));
  // A view that is loaded anew, of another history perhaps, does not bring the past back either.
  KeyIndex::SnapshotLoader load(index);
  load.Begin(At(7), 0);
  load.Publish();
  EXPECT_EQ(index.Read().DatabaseTimeAt(Boot(56)), noon + absl::Seconds(3));
  EXPECT_EQ(index.Read().DatabaseTimeAt(Boot(120)), noon + absl::Seconds(15)) << "as the sample at 55 says";
}

TEST(KeyIndex, OneSlowSampleOrAFastClockDoesNotPutTheDatabasesTimeAheadForEver) {
  KeyIndex index;
  const absl::Time noon = absl::FromUnixSeconds(1'700'000'000);
  // The question lay 4 s before the database looked at its clock.
  index.Extend(Boot(10), noon + absl::Seconds(4), Boot(0), Boot(4));
  index.Extend(Boot(20), noon + absl::Seconds(10), Boot(10), Boot(10));
  EXPECT_EQ(index.Read().DatabaseTimeAt(Boot(10)), noon + absl::Seconds(14));
  EXPECT_EQ(index.Read().DatabaseTimeAt(Boot(15)), noon + absl::Seconds(15));
}

TEST(KeyIndex, ChangesOfOrganizationsAndRolesAreSeenThroughTheirKeys) {
  KeyIndex index;
  Put(index, ChangeOf(MakeKey(KidOf(1), "acme", "deployer")));
  Put(index, ChangeOf(MakeKey(KidOf(2), "other", "deployer")));
  const auto expect = [&index](int64_t kid, const char* organization, const std::vector<std::string>* permissions) {
    const KeyIndex::Pin pin(index);
    const IndexedKey& key = *pin.FindKey(KidOf(kid));
    const OrganizationRecord* const shown = pin.OrganizationOf(key);
    ASSERT_EQ(shown != nullptr, organization != nullptr);
    if (shown != nullptr) {
      EXPECT_EQ(shown->display_name, organization);
    }
    EXPECT_EQ(shown, pin.FindOrganization(kid == 1 ? "acme" : "other"));
    const RoleRecord* const role = pin.RoleOf(key);
    ASSERT_EQ(role != nullptr, permissions != nullptr);
    if (role != nullptr) {
      EXPECT_EQ(role->permissions, *permissions);
    }
    EXPECT_EQ(role, pin.FindRole(kid == 1 ? "acme" : "other", "deployer"));
  };
  expect(1, nullptr, nullptr);
  const std::vector<std::string> wide = {"app.*"};
  const std::vector<std::string> narrow = {"app.read"};
  Put(index, ChangeOf(MakeOrganization("acme", "Acme")));
  Put(index, ChangeOf(MakeRole("acme", "deployer", wide)));
  expect(1, "Acme", &wide);
  expect(2, nullptr, nullptr);
  Put(index, ChangeOf(MakeRole("acme", "deployer", narrow)));
  Put(index, ChangeOf(MakeOrganization("acme", "Acme Inc.")));
  expect(1, "Acme Inc.", &narrow);
  RoleRecord removed = MakeRole("acme", "deployer", narrow);
  removed.removed = true;
  Put(index, ChangeOf(removed));
  expect(1, "Acme Inc.", nullptr);
  Put(index, ChangeOf(MakeRole("acme", "deployer", wide)));
  expect(1, "Acme Inc.", &wide);

  // Another role of the key.
  Put(index, ChangeOf(MakeKey(KidOf(1), "acme", "viewer")));
  const KeyIndex::Pin pin(index);
  EXPECT_EQ(pin.RoleOf(*pin.FindKey(KidOf(1)))->permissions, FindBuiltInRole("viewer")->permissions);
}

TEST(KeyIndex, BuiltInRolesHoldInEveryOrganizationAndNoRowChangesThem) {
  KeyIndex index;
  Put(index, ChangeOf(MakeKey(KidOf(1), "acme", kVerifierRole)));
  Put(index, ChangeOf(MakeRole("acme", kVerifierRole, {"*"})));
  Put(index, ChangeOf(MakeRole("", kVerifierRole, {"*"})));
  const KeyIndex::Pin pin(index);
  EXPECT_THAT(pin.RoleOf(*pin.FindKey(KidOf(1)))->permissions, ElementsAre(kVerify));
  for (const RoleRecord& role : BuiltInRoles()) {
    ASSERT_NE(pin.FindRole("anything", role.id), nullptr) << role.id;
    EXPECT_EQ(pin.FindRole("anything", role.id)->permissions, role.permissions);
  }
}

TEST(KeyIndex, ThousandsOfRolesKeepTheirSlots) {
  KeyIndex index;
  constexpr int kRoles = 3000;
  for (int i = 0; i < kRoles; ++i) {
    Put(index, ChangeOf(MakeKey(KidOf(i), "acme", absl::StrCat("role-", i))));
    Put(index, ChangeOf(MakeRole("acme", absl::StrCat("role-", i), {absl::StrCat("app.p", i)})));
  }
  const KeyIndex::Pin pin(index);
  for (int i = 0; i < kRoles; ++i) {
    const RoleRecord* const role = pin.RoleOf(*pin.FindKey(KidOf(i)));
    ASSERT_NE(role, nullptr);
    ASSERT_THAT(role->permissions, ElementsAre(absl::StrCat("app.p", i)));
    ASSERT_EQ(pin.FindRole("acme", absl::StrCat("role-", i)), role);
  }
}

Proof ProofIn(const KeyIndex& index, int64_t kid, int32_t version) {
  const KeyIndex::Pin pin(index);
  const IndexedKey* const key = pin.FindKey(KidOf(kid));
  return key == nullptr ? Proof() : key->ProofOf(version);
}

TEST(KeyIndex, ProofsStayAsLongAsTheirVersion) {
  KeyIndex index;
  KeyRecord key = MakeKey(KidOf(1), "acme", "editor");
  const Proof first = MakeProof('1', 'a');
  const Proof second = MakeProof('1', 'b');
  Put(index, ChangeOf(key), {{KidOf(1), 1, first}, {KidOf(2), 1, second}});
  EXPECT_EQ(ProofIn(index, 1, 1), first);

  key.display_name = "renamed";
  key.versions.push_back(VersionOf(2));
  Put(index, ChangeOf(key));
  EXPECT_EQ(ProofIn(index, 1, 1), first);
  EXPECT_FALSE(ProofIn(index, 1, 2));
  index.RememberProof({KidOf(1), 2, second});
  EXPECT_EQ(ProofIn(index, 1, 1), first);
  EXPECT_EQ(ProofIn(index, 1, 2), second);

  key.versions.erase(key.versions.begin());
  Put(index, ChangeOf(key));
  EXPECT_FALSE(ProofIn(index, 1, 1));
  EXPECT_EQ(ProofIn(index, 1, 2), second);
  key.versions.insert(key.versions.begin(), VersionOf(1));
  Put(index, ChangeOf(key));
  EXPECT_FALSE(ProofIn(index, 1, 1));  // It does not come back with its version.
}

TEST(KeyIndex, AProofOfANewerGenerationTakesThePlaceOfAnOlderOne) {
  KeyIndex index;
  const KeyRecord key = MakeKey(KidOf(1), "acme", "editor");
  Put(index, ChangeOf(key), {{KidOf(1), 1, MakeProof('1', 'a')}});
  index.RememberProof({KidOf(1), 1, MakeProof('2', 'b')});
  EXPECT_EQ(ProofIn(index, 1, 1), MakeProof('2', 'b'));
  Put(index, ChangeOf(key), {{KidOf(1), 1, MakeProof('3', 'c')}});
  EXPECT_EQ(ProofIn(index, 1, 1), MakeProof('3', 'c'));
  Put(index, ChangeOf(key), {{KidOf(1), 1, Proof()}});  // "None is known" takes nothing away.
  index.RememberProof({KidOf(1), 1, Proof()});
  EXPECT_EQ(ProofIn(index, 1, 1), MakeProof('3', 'c'));
  EXPECT_EQ(index.key_count(), 1u);
}

TEST(KeyIndex, AProofOfAVersionThatIsGoneIsForgotten) {
  KeyIndex index;
  Put(index, ChangeOf(MakeKey(KidOf(1), "acme", "editor")));
  index.RememberProof({KidOf(1), 2, MakeProof('1', 'a')});
  index.RememberProof({KidOf(2), 1, MakeProof('1', 'a')});
  EXPECT_FALSE(ProofIn(index, 1, 1));
  EXPECT_FALSE(ProofIn(index, 1, 2));
  EXPECT_EQ(index.key_count(), 1u);
}

TEST(KeyIndex, EvidenceFromBeforeALoadIsNotKept) {
  KeyIndex index;
  Put(index, ChangeOf(MakeKey(KidOf(1), "acme", "editor")));
  const int64_t before = index.Read().view_id;
  KeyIndex::SnapshotLoader load(index);
  load.Begin(At(1), 1);
  AddTo(load, KidOf(1), "acme", "editor");
  load.Publish();
  index.RememberProof({KidOf(1), 1, MakeProof('1', 'a')}, before);
  EXPECT_FALSE(ProofIn(index, 1, 1));
  index.RememberProof({KidOf(1), 1, MakeProof('1', 'a')}, index.Read().view_id);
  EXPECT_EQ(ProofIn(index, 1, 1), MakeProof('1', 'a'));
}

TEST(KeyIndex, ALoadTakesThePlaceOfEverything) {
  KeyIndex index;
  Put(index, ChangeOf(MakeOrganization("gone", "Gone")));
  Put(index, ChangeOf(MakeRole("gone", "deployer", {"app.*"})));
  Put(index, ChangeOf(MakeKey(KidOf(1), "gone", "deployer")), {{KidOf(1), 1, MakeProof('1', 'a')}});
  Put(index, ChangeOf(MakeKey(KidOf(2), "gone", "deployer")), {{KidOf(2), 1, MakeProof('1', 'a')}});

  KeyIndex::SnapshotLoader load(index);
  load.Begin(At(70), 5);
  AddTo(load, KidOf(9), "acme", "editor");
  load.Begin(At(77), 2);  // The connection broke.
  load.Add(MakeOrganization("acme", "Acme"));
  load.Add(MakeRole("acme", "deployer", {"app.read"}));
  AddTo(load, KidOf(2), "acme", "deployer", "second");
  AddTo(load, KidOf(3), "acme", "deployer", "third", MakeProof('2', 'c'));
  EXPECT_EQ(index.position().rev, 4);
  EXPECT_EQ(index.key_count(), 2u);
  load.Publish();

  const KeyIndex::Pin pin(index);
  EXPECT_EQ(index.position().rev, 77);
  EXPECT_EQ(pin.snapshot().revision, 77);
  EXPECT_EQ(pin.snapshot().chain, core::RevisionToken::Of(77, At(77).chain).chain);
  EXPECT_EQ(index.key_count(), 2u);
  EXPECT_EQ(pin.FindKey(KidOf(1)), nullptr);
  EXPECT_EQ(pin.FindKey(KidOf(9)), nullptr);
  EXPECT_EQ(pin.FindOrganization("gone"), nullptr);
  EXPECT_EQ(pin.FindRole("gone", "deployer"), nullptr);
  const IndexedKey* const key = pin.FindKey(KidOf(2));
  ASSERT_NE(key, nullptr);
  EXPECT_EQ(key->display_name(), "second");
  EXPECT_FALSE(key->ProofOf(1));
  EXPECT_EQ(pin.OrganizationOf(*key)->display_name, "Acme");
  EXPECT_THAT(pin.RoleOf(*key)->permissions, ElementsAre("app.read"));
  EXPECT_EQ(pin.FindKey(KidOf(3))->ProofOf(1), MakeProof('2', 'c'));
}

TEST(KeyIndex, WhatAPinFoundStaysWhileItLives) {
  KeyIndex index;
  Put(index, ChangeOf(MakeOrganization("acme", "Acme")));
  Put(index, ChangeOf(MakeRole("acme", "deployer", {"app.*"})));
  Put(index, ChangeOf(MakeKey(KidOf(1), "acme", "deployer")));
  const KeyIndex::Pin pin(index);
  const IndexedKey* const key = pin.FindKey(KidOf(1));
  const RoleRecord* const role = pin.RoleOf(*key);
  const OrganizationRecord* const organization = pin.OrganizationOf(*key);
  KeyRecord renamed = MakeKey(KidOf(1), "acme", "deployer");
  renamed.display_name = "renamed";
  std::thread([&] {
    for (int i = 0; i < 200; ++i) {
      Put(index, ChangeOf(renamed));
      Put(index, ChangeOf(MakeRole("acme", "deployer", {"app.read"})));
      Put(index, ChangeOf(MakeOrganization("acme", "Acme Inc.")));
    }
    KeyIndex::SnapshotLoader load(index);
    load.Begin(At(900), 0);
    load.Publish();
    core::Epochs::Collect();
  }).join();
  EXPECT_EQ(pin.snapshot().revision, 3);
  EXPECT_EQ(key->display_name(), "a key");
  EXPECT_THAT(role->permissions, ElementsAre("app.*"));
  EXPECT_EQ(organization->display_name, "Acme");
  // The view is the reading's still, as it is now.
  EXPECT_EQ(pin.FindKey(KidOf(1))->display_name(), "renamed");
  EXPECT_EQ(KeyIndex::Pin(index).FindKey(KidOf(1)), nullptr);
}

TEST(KeyIndex, TellsOfItsProgressEachHundredThousandKeys) {
  KeyIndex index;
  KeyIndex::SnapshotLoader load(index);
  std::vector<std::pair<int64_t, int64_t>> told;
  load.OnProgress([&told](int64_t loaded, int64_t expected) { told.emplace_back(loaded, expected); });
  load.Begin(At(1), 250'000);
  for (int i = 0; i < 210'000; ++i) AddTo(load, KidOf(i), "acme", "editor");
  EXPECT_THAT(told, ElementsAre(Pair(100'000, 250'000), Pair(200'000, 250'000)));
}

TEST(KeyIndex, AKeyTakesAtMost300BytesWithItsPlaceInTheTable) {
  constexpr size_t kKeys = 200'000;
  constexpr size_t kBound = 300;
  KeyIndex index;
  const size_t before = mallinfo2().uordblks + mallinfo2().hblkhd;
  KeyIndex::SnapshotLoader load(index);
  load.Begin(At(1), 0);  // The table grows as it does without being told how many will come.
  load.Add(MakeOrganization("acme", "Acme"));
  for (size_t i = 0; i < kKeys; ++i) {
    const std::string name = absl::StrFormat("deploy-pipeline-%05d", i % 100'000);
    const storage::SnapshotVersion version{.id = 1, .expires_at = Never(), .proof = MakeProof('1', 'a')};
    storage::SnapshotKey key;
    const std::string kid = KidOf(static_cast<int64_t>(i));
    key.organization = "acme";
    key.kid = kid;
    key.display_name = name;
    key.role = "editor";
    key.owner = "platform-team@acme.x";
    key.versions = absl::MakeConstSpan(&version, 1);
    load.Add(key);
  }
  load.Publish();
  ASSERT_EQ(index.key_count(), kKeys);
  const size_t loaded = index.memory_bytes();
  EXPECT_LE(loaded / kKeys, kBound);
  EXPECT_GE(loaded / kKeys, sizeof(IndexedKey));
  // What the allocator says of the same (nothing under a sanitizer).
  const size_t after = mallinfo2().uordblks + mallinfo2().hblkhd;
  EXPECT_LE((std::max(after, before) - before) / kKeys, kBound);

  // What is replaced is not counted any more.
  KeyRecord key = MakeKey(KidOf(1), "acme", "editor");
  key.display_name = "deploy-pipeline-00001";
  key.owner = "platform-team@acme.x";
  for (int i = 0; i < 1000; ++i) Put(index, ChangeOf(key));
  EXPECT_EQ(index.memory_bytes(), loaded);
}

// A follower writes rows, row r to key r % kKeys, to the organization and to the role in turn, and loads the view anew
// now and then; each record says the row that wrote it.
class Traffic {
 public:
  static constexpr int64_t kKeys = 97;
  static constexpr int64_t kStride = kKeys + 2;

  Traffic() { Reload(kStride * 2); }

  // The newest row up to `revision` that wrote `target`: a key, kKeys for the organization, kKeys + 1 for the role.
  static int64_t LastRowOf(int64_t target, int64_t revision) {
    return revision - (revision - target + kStride) % kStride;
  }

  void Write() {
    const int64_t rev = index.position().rev + 1;
    const int64_t target = rev % kStride;
    if (target == kKeys) {
      index.Apply(At(rev), ChangeOf(MakeOrganization("acme", absl::StrCat(rev))));
    } else if (target == kKeys + 1) {
      index.Apply(At(rev), ChangeOf(MakeRole("acme", "deployer", {absl::StrCat(rev)})));
    } else {
      KeyRecord key = MakeKey(KidOf(target), "acme", "deployer");
      key.display_name = absl::StrCat(rev);
      index.Apply(At(rev), ChangeOf(key));
    }
    if (rev % 16 == 0) index.Extend(Boot(rev), absl::FromUnixSeconds(rev), Boot(rev));
  }

  void Reload(int64_t rev) {
    KeyIndex::SnapshotLoader load(index);
    load.Begin(At(rev), 0);
    load.Add(MakeOrganization("acme", absl::StrCat(LastRowOf(kKeys, rev))));
    load.Add(MakeRole("acme", "deployer", {absl::StrCat(LastRowOf(kKeys + 1, rev))}));
    for (int64_t i = 0; i < kKeys; ++i) {
      AddTo(load, KidOf(i), "acme", "deployer", absl::StrCat(LastRowOf(i, rev)));
    }
    load.Publish();
  }

  // True if a decision about what the newest row wrote sees nothing that is older than its reading.
  bool LooksRight() const {
    const KeyIndex::Pin pin(index);
    const int64_t revision = pin.snapshot().revision;
    const int64_t target = revision % kStride % kKeys;
    const IndexedKey* const key = pin.FindKey(KidOf(target));
    if (key == nullptr) return false;
    const OrganizationRecord* const organization = pin.OrganizationOf(*key);
    const RoleRecord* const role = pin.RoleOf(*key);
    if (organization == nullptr || role == nullptr) return false;
    return pin.snapshot().lease_until <= Boot(revision) &&
           pin.snapshot().chain == core::RevisionToken::Of(revision, At(revision).chain).chain &&
           std::stoll(std::string(key->display_name())) >= LastRowOf(target, revision) &&
           std::stoll(organization->display_name) >= LastRowOf(kKeys, revision) &&
           std::stoll(role->permissions.at(0)) >= LastRowOf(kKeys + 1, revision);
  }

  KeyIndex index;
};

TEST(KeyIndex, NoReaderSeesARecordOlderThanTheRevisionItRead) {
  Traffic traffic;
  std::atomic<bool> done{false};
  std::atomic<int64_t> looks{0};
  std::atomic<int64_t> wrong{0};
  std::vector<std::thread> threads;
  for (int reader = 0; reader < 3; ++reader) {
    threads.emplace_back([&] {
      while (!done.load(std::memory_order_relaxed)) {
        if (!traffic.LooksRight()) wrong.fetch_add(1);
        looks.fetch_add(1, std::memory_order_relaxed);
      }
    });
  }
  threads.emplace_back([&] {
    for (int64_t i = 0; !done.load(std::memory_order_relaxed); ++i) {
      traffic.index.RememberProof({KidOf(i % Traffic::kKeys), 1, MakeProof('1', static_cast<char>('a' + i % 26))});
    }
  });
  for (int row = 0; row < 50'000 || looks.load() < 50'000; ++row) {
    traffic.Write();
    if (row % 1000 == 999) traffic.Reload(traffic.index.position().rev);
  }
  done = true;
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong.load(), 0);
  EXPECT_EQ(traffic.index.key_count(), static_cast<size_t>(Traffic::kKeys));
}

}  // namespace
}  // namespace latchkey::keys
