#include "server/keys/admin/key_decisions.h"

#include <gtest/gtest.h>

#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "server/base/errors.h"
#include "server/keys/admin/etag.h"
#include "server/model/built_in_roles.h"
#include "server/model/change_codec.h"
#include "tests/keys/admin/decision_values.h"
#include "tests/support/status_matchers.h"

namespace latchkey::keys {
namespace {

using storage::LockedState;
using testing::IsError;
using testing::IsOk;
using Cidrs = std::vector<std::string>;

constexpr char kWrite[] = "write";
constexpr char kNothing[] = "nothing to change";
constexpr char kStartOver[] = "start over";

// Whether the organization is locked too.
constexpr bool kLocked = true;
constexpr bool kUnlocked = false;

absl::StatusOr<KeyDecision> Create(const LockedState& state, const KeyRecord& caller, const NewKey& wanted) {
  return DecideCreate(state, As(caller), wanted, Minted(), kAudit);
}
absl::StatusOr<KeyDecision> Update(const LockedState& state, const KeyRecord& caller, const KeyEdit& edit,
                                   bool organization_locked = kLocked) {
  return DecideUpdate(state, As(caller), edit, organization_locked, kAudit);
}
absl::StatusOr<KeyDecision> Delete(const LockedState& state, const KeyRecord& caller, const KeyRemoval& removal,
                                   bool organization_locked = kLocked) {
  return DecideDelete(state, As(caller), removal, organization_locked, kKept, kAudit);
}

// The outcome in a word, or the error's reason.
std::string Said(const absl::StatusOr<KeyDecision>& decision) {
  if (!decision.ok()) return std::string(errors::NameOf(errors::ReasonOf(decision.status())));
  const bool writes = decision->outcome == KeyDecision::Outcome::kWrite;
  EXPECT_EQ(decision->mutation.changes.size(), writes ? 1u : 0u);
  if (writes) {
    EXPECT_EQ(decision->mutation.changes.front().key, decision->key);
    return kWrite;
  }
  return decision->outcome == KeyDecision::Outcome::kStartOver ? kStartOver : kNothing;
}

// --- Create. ---

TEST(DecideCreate, TheNewKeyIsWhatWasAskedForAndWhatWasMinted) {
  const KeyRecord caller = Key("caller", "owner");
  NewKey wanted = Wanted("editor", After(absl::Hours(1)), {"10.0.0.0/8"});
  wanted.display_name = "a name";
  wanted.description = "a description";
  wanted.owner = "somebody";
  wanted.labels = {{"env", "prod"}};
  const auto decision = Create(StateWith({caller}), caller, wanted);
  ASSERT_THAT(decision, IsOk());
  KeyRecord expected;
  expected.organization = "acme";
  expected.kid = "minted";
  expected.display_name = "a name";
  expected.description = "a description";
  expected.role = "editor";
  expected.owner = "somebody";
  expected.labels = {{"env", "prod"}};
  expected.key_hint = "lk1_min";
  expected.creator = "organizations/acme/keys/caller";
  expected.creator_kid = "caller";
  expected.created_at = kNow;
  expected.updated_at = kNow;
  expected.expires_at = kSoon;
  expected.allowed_cidrs = {"10.0.0.0/8"};
  expected.versions = {SecretVersion{.created_at = kNow}};
  EXPECT_EQ(Said(decision), kWrite);
  EXPECT_EQ(decision->key, expected);
  EXPECT_EQ(decision->mutation.request_name, "organizations/acme/keys/minted");
  const Change& change = decision->mutation.changes.front();
  ASSERT_TRUE(change.new_secret.has_value());
  EXPECT_EQ(change.new_secret->hash, "a hash");
  EXPECT_EQ(change.body, EncodeBody(change, kAudit));
}

TEST(DecideCreate, WhatIsGivenIsAtMostWhatTheCallerHas) {
  const Cidrs office = {"10.0.0.0/8"};
  const struct {
    const char* what;
    KeyRecord caller;
    NewKey wanted;
    const char* said;
  } cases[] = {
      {"the same role", Key("caller", "admin"), Wanted("admin"), kWrite},
      {"a lesser role", Key("caller", "admin"), Wanted("viewer"), kWrite},
      {"a greater role", Key("caller", "admin"), Wanted("owner"), "ROLE_EXCEEDS_CREATOR"},
      {"an incomparable role", Key("caller", "keeper-a"), Wanted("keeper-b"), "ROLE_EXCEEDS_CREATOR"},
      {"a role that is not there", Key("caller", "owner"), Wanted("no-such"), "ROLE_UNKNOWN"},
      {"as long a life", Key("caller", "admin", kSoon), Wanted("viewer", At(kSoon)), kWrite},
      {"as long a life, from now", Key("caller", "admin", kSoon), Wanted("viewer", After(absl::Hours(1))), kWrite},
      {"a longer life", Key("caller", "admin", kSoon), Wanted("viewer", At(kLater)), "EXPIRY_EXCEEDS_CREATOR"},
      {"a life without end", Key("caller", "admin", kSoon), Wanted("viewer"), "EXPIRY_EXCEEDS_CREATOR"},
      {"an end that is now", Key("caller", "admin"), Wanted("viewer", At(kNow)), "FIELD_INVALID"},
      {"fewer addresses", Key("caller", "admin", Never(), office), Wanted("viewer", {}, {"10.1.0.0/16"}), kWrite},
      {"more addresses", Key("caller", "admin", Never(), office), Wanted("viewer", {}, {"10.0.0.0/7"}),
       "CIDRS_EXCEED_CREATOR"},
      {"any address", Key("caller", "admin", Never(), office), Wanted("viewer"), "CIDRS_EXCEED_CREATOR"},
      {"role before end", Key("caller", "admin", kSoon), Wanted("owner", At(kNow)), "ROLE_EXCEEDS_CREATOR"},
      {"end before addresses", Key("caller", "admin", kSoon, office), Wanted("viewer"), "EXPIRY_EXCEEDS_CREATOR"},
  };
  for (const auto& c : cases) EXPECT_EQ(Said(Create(StateWith({c.caller}), c.caller, c.wanted)), c.said) << c.what;
}

TEST(DecideCreate, OnlyALiveCallerThatMayCreateCreates) {
  const KeyRecord owner = Key("caller", "owner");
  const struct {
    const char* what;
    std::vector<KeyRecord> locked;
    const char* said;
  } cases[] = {
      {"purged", {}, "CREDENTIALS_INVALID"},
      {"deleted", {Deleted(owner)}, "CREDENTIALS_INVALID"},
      {"expired at this instant", {Key("caller", "owner", kNow)}, "CREDENTIALS_INVALID"},
      {"lowered", {Key("caller", "viewer")}, "PERMISSION_MISSING"},
      {"with a role that is gone", {Key("caller", "no-such")}, "PERMISSION_MISSING"},
      {"as it was", {owner}, kWrite},
  };
  for (const auto& c : cases) {
    const auto decision = Create(StateWith(c.locked), owner, Wanted("viewer", At(kSoon)));
    EXPECT_EQ(Said(decision), c.said) << c.what;
  }
}

TEST(DecideCreate, AReplayedRequestNamesTheKeyItMadeWhateverItAsksFor) {
  const KeyRecord caller = Key("caller", "owner");
  LockedState state = StateWith({caller});
  state.replayed_name = "organizations/acme/keys/first";
  for (const char* role : {"viewer", "no-such"}) {
    const auto decision = Create(state, caller, Wanted(role));
    ASSERT_THAT(decision, IsError(absl::StatusCode::kAlreadyExists, "REQUEST_REPLAYED"));
    EXPECT_EQ(errors::DetailOf(decision.status())->metadata.at("name"), "organizations/acme/keys/first");
  }
}

TEST(DecideCreate, AForeignMissingOrDeletedOrganizationIsNotFound) {
  const KeyRecord foreign = In("beta", Key("caller", "owner"));
  const KeyRecord system = In("system", Key("caller", "owner"));
  LockedState state = StateWith({foreign});
  EXPECT_EQ(Said(Create(state, foreign, Wanted("viewer"))), "ORGANIZATION_NOT_FOUND");
  state = StateWith({system});
  EXPECT_EQ(Said(Create(state, system, Wanted("viewer"))), kWrite);
  state.organization->deleted_at = kBefore;
  state.replayed_name = "organizations/acme/keys/first";
  EXPECT_EQ(Said(Create(state, system, Wanted("viewer"))), "ORGANIZATION_NOT_FOUND");
  state.organization.reset();
  EXPECT_EQ(Said(Create(state, system, Wanted("viewer"))), "ORGANIZATION_NOT_FOUND");
}

// --- Update. ---

TEST(DecideUpdate, OnlyWhatIsSetChanges) {
  const KeyRecord caller = Key("caller", "owner");
  const KeyRecord target = Key("target", "viewer");
  const struct {
    const char* what;
    KeyEdit edit;
    void (*expect)(KeyRecord&);
  } cases[] = {
      {"name", Rename(), [](KeyRecord& key) { key.display_name = "renamed"; }},
      {"role", ToRole("editor"), [](KeyRecord& key) { key.role = "editor"; }},
      {"end", ToEnd(At(kSoon)), [](KeyRecord& key) { key.expires_at = kSoon; }},
      {"end from now", ToEnd(After(absl::Hours(2))), [](KeyRecord& key) { key.expires_at = kLater; }},
      {"addresses", ToCidrs({"10.0.0.0/8"}), [](KeyRecord& key) { key.allowed_cidrs = {"10.0.0.0/8"}; }},
  };
  for (const auto& c : cases) {
    const auto decision = Update(StateWith({caller, target}), caller, c.edit);
    ASSERT_EQ(Said(decision), kWrite) << c.what;
    KeyRecord expected = target;
    c.expect(expected);
    expected.updated_at = kNow;
    EXPECT_EQ(decision->key, expected) << c.what;
    const Change& change = decision->mutation.changes.front();
    EXPECT_EQ(change.body, EncodeBody(change, kAudit)) << c.what;
    EXPECT_FALSE(change.new_secret.has_value());
  }
  KeyEdit texts = Edit();
  texts.description = "d";
  texts.owner = "o";
  texts.labels = std::map<std::string, std::string>{{"env", "prod"}};
  const auto decision = Update(StateWith({caller, target}), caller, texts);
  ASSERT_EQ(Said(decision), kWrite);
  EXPECT_EQ(decision->key.description, "d");
  EXPECT_EQ(decision->key.owner, "o");
  EXPECT_EQ(decision->key.labels.at("env"), "prod");
}

TEST(DecideUpdate, AllTextsOfTheKeyTogetherHaveALimitHoweverManyEditsItTakes) {
  const KeyRecord caller = Key("caller", "owner");
  KeyRecord target = Key("target", "viewer");
  target.description = std::string(3'000, 'd');
  const LockedState state = StateWith({caller, target});
  KeyEdit edit{.organization = "acme", .kid = "target"};
  edit.owner = std::string(4'096 - KeyTextBytes(target) - target.owner.size(), 'o');
  EXPECT_EQ(Said(Update(state, caller, edit)), kWrite);
  edit.owner->push_back('o');
  EXPECT_EQ(Said(Update(state, caller, edit)), "FIELD_INVALID");
  // A key that is above it already may be made smaller, and changed otherwise, but not larger.
  target.description = std::string(5'000, 'd');
  const LockedState older = StateWith({caller, target});
  KeyEdit shorter{.organization = "acme", .kid = "target"};
  shorter.description = std::string(4'900, 'd');
  EXPECT_EQ(Said(Update(older, caller, shorter)), kWrite);
  shorter.description = std::string(5'001, 'd');
  EXPECT_EQ(Said(Update(older, caller, shorter)), "FIELD_INVALID");
}

TEST(DecideUpdate, WhatIsAsAskedAlreadyIsNotWritten) {
  const KeyRecord caller = Key("caller", "owner");
  const KeyRecord target = Key("target", "viewer", kSoon, {"10.0.0.0/8"});
  KeyEdit same = Edit();
  same.display_name = target.display_name;
  same.role = target.role;
  same.expiration = At(kSoon);
  same.allowed_cidrs = target.allowed_cidrs;
  for (const KeyEdit& edit : {Edit(), same}) {
    const auto decision = Update(StateWith({caller, target}), caller, edit);
    EXPECT_EQ(Said(decision), kNothing);
    EXPECT_EQ(decision->key, target);
  }
}

TEST(DecideUpdate, WhatIsGivenIsAtMostWhatTheCallerHas) {
  const Cidrs office = {"10.0.0.0/8"};
  const KeyRecord admin = Key("caller", "admin");
  const KeyRecord passing = Key("caller", "admin", kSoon);
  const KeyRecord inside = Key("caller", "admin", Never(), office);
  const struct {
    const char* what;
    KeyRecord caller;
    KeyRecord target;
    KeyEdit edit;
    const char* said;
  } cases[] = {
      {"a role as great", admin, Key("target", "viewer"), ToRole("admin"), kWrite},
      {"a role that is greater", admin, Key("target", "viewer"), ToRole("owner"), "ROLE_EXCEEDS_CREATOR"},
      {"a role that is not there", admin, Key("target", "viewer"), ToRole("no-such"), "ROLE_UNKNOWN"},
      {"an incomparable role", Key("caller", "keeper-a"), Key("target", "keeper-a"), ToRole("keeper-b"),
       "ROLE_EXCEEDS_CREATOR"},
      {"renaming what is greater", admin, Key("target", "owner"), Rename(), "ROLE_EXCEEDS_CREATOR"},
      {"lowering what is greater", admin, Key("target", "owner"), ToRole("viewer"), "ROLE_EXCEEDS_CREATOR"},
      {"as long a life", passing, Key("target", "viewer", kNow), ToEnd(At(kSoon)), kWrite},
      {"a longer life", passing, Key("target", "viewer", kSoon), ToEnd(At(kLater)), "EXPIRY_EXCEEDS_CREATOR"},
      {"a life without end", passing, Key("target", "viewer", kSoon), ToEnd({}), "EXPIRY_EXCEEDS_CREATOR"},
      {"a shorter life, still longer than the caller's", passing, Key("target", "viewer"), ToEnd(At(kLater)), kWrite},
      {"an end that is now", admin, Key("target", "viewer"), ToEnd(At(kNow)), "FIELD_INVALID"},
      {"a greater role for longer", passing, Key("target", "viewer"), ToRole("admin"), "EXPIRY_EXCEEDS_CREATOR"},
      {"a greater role for as long", passing, Key("target", "viewer", kSoon), ToRole("admin"), kWrite},
      {"a lesser role for longer", passing, Key("target", "admin"), ToRole("viewer"), kWrite},
      {"a name for longer", passing, Key("target", "admin"), Rename(), kWrite},
      {"addresses as many", inside, Key("target", "viewer", Never(), {"10.1.0.0/16"}), ToCidrs(office), kWrite},
      {"more addresses", inside, Key("target", "viewer", Never(), office), ToCidrs({"10.0.0.0/7"}),
       "CIDRS_EXCEED_CREATOR"},
      {"any address", inside, Key("target", "viewer", Never(), office), ToCidrs({}), "CIDRS_EXCEED_CREATOR"},
      {"fewer addresses, still more than the caller's", inside, Key("target", "viewer"), ToCidrs({"10.0.0.0/7"}),
       kWrite},
      {"a greater role from anywhere", inside, Key("target", "viewer"), ToRole("admin"), "CIDRS_EXCEED_CREATOR"},
      {"a greater role from as many", inside, Key("target", "viewer", Never(), office), ToRole("admin"), kWrite},
      {"a lesser role from anywhere", inside, Key("target", "admin"), ToRole("viewer"), kWrite},
  };
  for (const auto& c : cases) {
    EXPECT_EQ(Said(Update(StateWith({c.caller, c.target}), c.caller, c.edit)), c.said) << c.what;
  }
}

TEST(DecideUpdate, WhatIsGivenIsAtMostWhatTheLiveCreatorHasToo) {
  const Cidrs office = {"10.0.0.0/8"};
  const KeyRecord owner = Key("caller", "owner");
  const KeyRecord viewer = CreatedBy("creator", Key("target", "viewer", kSoon, office));
  const struct {
    const char* what;
    KeyRecord caller;
    std::optional<KeyRecord> creator;
    KeyEdit edit;
    const char* said;
  } cases[] = {
      {"a role", owner, Key("creator", "admin"), ToRole("owner"), "ROLE_EXCEEDS_CREATOR"},
      {"an end", owner, Key("creator", "admin", kSoon), ToEnd(At(kLater)), "EXPIRY_EXCEEDS_CREATOR"},
      {"addresses", owner, Key("creator", "admin", Never(), office), ToCidrs({}), "CIDRS_EXCEED_CREATOR"},
      {"a greater role for longer", owner, Key("creator", "admin", kNow), ToRole("admin"), "EXPIRY_EXCEEDS_CREATOR"},
      {"a greater role from more", owner, Key("creator", "admin", Never(), {"10.1.0.0/16"}), ToRole("admin"),
       "CIDRS_EXCEED_CREATOR"},
      {"within", owner, Key("creator", "admin"), ToRole("admin"), kWrite},
      {"a name", owner, Key("creator", "verifier", kNow, {"192.0.2.0/24"}), Rename(), kWrite},
      {"a creator that is deleted", owner, Deleted(Key("creator", "admin")), ToRole("owner"), kWrite},
      {"a creator that is purged", owner, std::nullopt, ToRole("owner"), kWrite},
      // One ceiling after the other, in each the end first.
      {"the caller's addresses before the creator's end", Key("caller", "admin", Never(), {"10.1.0.0/16"}),
       Key("creator", "admin", kNow), ToRole("admin"), "CIDRS_EXCEED_CREATOR"},
  };
  for (const auto& c : cases) {
    LockedState state = StateWith({c.caller, viewer});
    if (c.creator) state.keys[c.creator->kid] = *c.creator;
    EXPECT_EQ(Said(Update(state, c.caller, c.edit)), c.said) << c.what;
  }
}

KeyEdit ToCidrs(std::vector<std::string> cidrs) {
  KeyEdit edit = Edit();
  edit.allowed_cidrs = std::move(cidrs);
  return edit;
}

TEST(DecideUpdate, AKeyIsNotLoweredBelowTheLiveKeysItCreated) {
  const KeyRecord owner = Key("caller", "owner");
  const KeyRecord admin = Key("target", "admin");
  // What it created, by role; `beyond`: those that the store found to live longer, or to be used from elsewhere, than
  // the edit allows.
  const auto of = [](const std::string& role, int64_t count, int64_t beyond = 0) {
    return storage::ChildGroup{.organization = "acme", .role = role, .count = count, .beyond = beyond};
  };
  const struct {
    const char* what;
    std::vector<storage::ChildGroup> children;
    KeyEdit edit;
    int above;  // 0 = it is written.
  } cases[] = {
      {"no child", {}, ToRole("viewer"), 0},
      {"a lesser role above one of two", {of("editor", 1), of("viewer", 1)}, ToRole("viewer"), 1},
      {"a lesser role above many", {of("editor", 20'000), of("admin", 2)}, ToRole("viewer"), 20'002},
      {"a lesser role that is enough", {of("viewer", 1)}, ToRole("editor"), 0},
      {"an incomparable role", {of("keeper-b", 1)}, ToRole("keeper-a"), 1},
      {"a shorter life", {of("viewer", 3, 1)}, ToEnd(At(kSoon)), 1},
      {"a shorter life that is enough", {of("viewer", 3)}, ToEnd(At(kSoon)), 0},
      {"fewer addresses", {of("viewer", 3, 2)}, ToCidrs({"10.0.0.0/8"}), 2},
      {"fewer addresses that are enough", {of("viewer", 3)}, ToCidrs({"10.0.0.0/8"}), 0},
      {"a name", {of("owner", 1, 1)}, Rename(), 0},
      {"children whose role is gone", {of("no-such", 1)}, ToRole("viewer"), 0},
  };
  for (const auto& c : cases) {
    LockedState state = StateWith({owner, admin});
    state.children = c.children;
    state.children_roles = state.roles;
    const auto decision = Update(state, owner, c.edit);
    EXPECT_EQ(Said(decision), c.above == 0 ? kWrite : "DESCENDANTS_EXCEED_CREATOR") << c.what;
    if (c.above == 0 || decision.ok()) continue;
    EXPECT_EQ(errors::DetailOf(decision.status())->metadata.at("count"), std::to_string(c.above)) << c.what;
  }
}

TEST(DecideUpdate, ADeletedKeyIsNotEditedAndAnOlderStateIsNotOverwritten) {
  const KeyRecord caller = Key("caller", "owner");
  const KeyRecord target = Key("target", "viewer");
  const LockedState live = StateWith({caller, target});
  EXPECT_EQ(Said(Update(live, caller, WithEtag(EtagOf(target.revision), Rename()))), kWrite);
  EXPECT_EQ(Said(Update(live, caller, WithEtag(EtagOf(target.revision - 1), Rename()))), "ETAG_MISMATCH");
  EXPECT_EQ(Said(Update(live, caller, WithEtag("nonsense", Edit()))), "ETAG_MISMATCH");
  const LockedState deleted = StateWith({caller, Deleted(target)});
  EXPECT_EQ(Said(Update(deleted, caller, Rename())), "KEY_DELETED");
  EXPECT_EQ(Said(Update(deleted, caller, WithEtag("nonsense", Rename()))), "KEY_DELETED");
}

// --- Delete. ---

TEST(DecideDelete, ADeletedKeyIsKeptForAWhileWithItsReason) {
  const KeyRecord caller = Key("caller", "owner");
  const KeyRecord target = Key("target", "viewer");
  const auto decision = Delete(StateWith({caller, target}), caller, Removal(DeleteReason::kRotated));
  ASSERT_EQ(Said(decision), kWrite);
  KeyRecord expected = target;
  expected.updated_at = kNow;
  expected.deleted_at = kNow;
  expected.purge_at = kNow + kKept;
  expected.delete_reason = DeleteReason::kRotated;
  EXPECT_EQ(decision->key, expected);
  const Change& change = decision->mutation.changes.front();
  EXPECT_EQ(change.body, EncodeBody(change, kAudit));
}

TEST(DecideDelete, ADeleteNeedsTheTargetsRoleAtMostTheCallersAndNothingElse) {
  const struct {
    const char* what;
    KeyRecord caller;
    KeyRecord target;
    const char* said;
  } cases[] = {
      {"a lesser role", Key("caller", "admin"), Key("target", "viewer"), kWrite},
      {"a greater role", Key("caller", "admin"), Key("target", "owner"), "ROLE_EXCEEDS_CREATOR"},
      {"a greater role that is deleted", Key("caller", "admin"), Deleted(Key("target", "owner")),
       "ROLE_EXCEEDS_CREATOR"},
      // Who leaves tonight must still be able to delete a leaked key.
      {"one that lives longer", Key("caller", "admin", kSoon), Key("target", "admin"), kWrite},
      {"one that is used from elsewhere", Key("caller", "admin", Never(), {"10.0.0.0/8"}), Key("target", "admin"),
       kWrite},
  };
  for (const auto& c : cases) {
    EXPECT_EQ(Said(Delete(StateWith({c.caller, c.target}), c.caller, Removal())), c.said) << c.what;
  }
  // What it created stays, whatever it holds.
  const KeyRecord caller = Key("caller", "owner");
  LockedState state = StateWith({caller, Key("target", "admin")});
  state.children = {{.organization = "acme", .role = "admin", .count = 1}};
  EXPECT_EQ(Said(Delete(state, caller, Removal())), kWrite);
}

TEST(DecideDelete, AnOlderStateIsNotDeleted) {
  const KeyRecord caller = Key("caller", "owner");
  const KeyRecord target = Key("target", "viewer");
  const LockedState state = StateWith({caller, target});
  EXPECT_EQ(Said(Delete(state, caller, Removal(DeleteReason::kUnused, EtagOf(target.revision)))), kWrite);
  EXPECT_EQ(Said(Delete(state, caller, Removal(DeleteReason::kUnused, EtagOf(target.revision - 1)))), "ETAG_MISMATCH");
}

TEST(DecideDelete, ARetryChangesTheReasonToAStrongerOneOnly) {
  constexpr DeleteReason kNone = DeleteReason::kUnspecified;
  const struct {
    DeleteReason had;
    DeleteReason wanted;
    const char* said;
  } cases[] = {
      {kNone, kNone, kNothing},
      {kNone, DeleteReason::kUnused, kWrite},
      {kNone, DeleteReason::kCompromised, kWrite},
      {DeleteReason::kUnused, kNone, kNothing},
      {DeleteReason::kUnused, DeleteReason::kUnused, kNothing},
      {DeleteReason::kUnused, DeleteReason::kOwnerLeft, kNothing},
      {DeleteReason::kOwnerLeft, DeleteReason::kRotated, kNothing},
      {DeleteReason::kOwnerLeft, DeleteReason::kCompromised, kWrite},
      {DeleteReason::kCompromised, DeleteReason::kOwnerLeft, kNothing},
      {DeleteReason::kCompromised, DeleteReason::kCompromised, kNothing},
  };
  const KeyRecord caller = Key("caller", "owner");
  for (const auto& c : cases) {
    const KeyRecord target = Deleted(Key("target", "viewer"), c.had);
    // The etag of before the delete: the client whose answer was lost knows no other.
    const auto decision =
        Delete(StateWith({caller, target}), caller, Removal(c.wanted, EtagOf(target.revision - 1)), kUnlocked);
    ASSERT_EQ(Said(decision), c.said) << static_cast<int>(c.had) << " to " << static_cast<int>(c.wanted);
    KeyRecord expected = target;
    if (decision->outcome == KeyDecision::Outcome::kWrite) {
      expected.delete_reason = c.wanted;
      expected.updated_at = kNow;
    }
    EXPECT_EQ(decision->key, expected);
  }
}

TEST(DecideDelete, AnOwnerThatIsDeletedAlreadyIsNoLossToItsOrganization) {
  const KeyRecord caller = In("system", Key("caller", "owner"));
  const LockedState state = StateWith({caller, Deleted(Key("target", "owner"))});
  EXPECT_EQ(Said(Delete(state, caller, Removal(DeleteReason::kUnused), kUnlocked)), kNothing);
  EXPECT_EQ(Said(Delete(state, caller, Removal(DeleteReason::kCompromised), kUnlocked)), kWrite);
}

// --- Both. ---

TEST(DecideUpdateAndDelete, TheCallerIsJudgedAsItIsUnderTheLocks) {
  const KeyRecord owner = Key("caller", "owner");
  const KeyRecord target = Key("target", "viewer");
  const struct {
    const char* what;
    std::vector<KeyRecord> locked;
    const char* said;
  } cases[] = {
      {"purged", {target}, "CREDENTIALS_INVALID"},
      {"deleted", {Deleted(owner), target}, "CREDENTIALS_INVALID"},
      {"expired at this instant", {Key("caller", "owner", kNow), target}, "CREDENTIALS_INVALID"},
      {"lowered", {Key("caller", "editor"), target}, "PERMISSION_MISSING"},
      // Who it is comes before what there is.
      {"lowered, and no target", {Key("caller", "editor")}, "PERMISSION_MISSING"},
  };
  for (const auto& c : cases) {
    EXPECT_EQ(Said(Update(StateWith(c.locked), owner, Rename())), c.said) << c.what;
    EXPECT_EQ(Said(Delete(StateWith(c.locked), owner, Removal())), c.said) << c.what;
  }
}

TEST(DecideUpdateAndDelete, AKeyOfAnotherOrganizationIsNotFound) {
  const KeyRecord foreign = In("beta", Key("caller", "owner"));
  const KeyRecord system = In("system", Key("caller", "owner"));
  const KeyRecord target = Key("target", "viewer");
  KeyEdit under_false_parent = Rename();
  under_false_parent.organization = "beta";
  KeyRemoval removal_under_false_parent = Removal();
  removal_under_false_parent.organization = "beta";
  const LockedState state = StateWith({foreign, target});
  EXPECT_EQ(Said(Update(state, foreign, Rename())), "KEY_NOT_FOUND");
  EXPECT_EQ(Said(Update(state, foreign, under_false_parent)), "KEY_NOT_FOUND");
  EXPECT_EQ(Said(Delete(state, foreign, Removal())), "KEY_NOT_FOUND");
  EXPECT_EQ(Said(Delete(state, foreign, removal_under_false_parent)), "KEY_NOT_FOUND");
  EXPECT_EQ(Said(Update(StateWith({system}), system, Rename())), "KEY_NOT_FOUND");
  EXPECT_EQ(Said(Delete(StateWith({system}), system, Removal())), "KEY_NOT_FOUND");
  EXPECT_EQ(Said(Update(StateWith({system, target}), system, Rename())), kWrite);
  EXPECT_EQ(Said(Delete(StateWith({system, target}), system, Removal())), kWrite);
}

TEST(DecideUpdateAndDelete, TheLastLastingOwnerOfAnOrganizationStaysOne) {
  // A caller in `system` is no owner of `acme`.
  const KeyRecord system = In("system", Key("caller", "owner"));
  const KeyRecord last = Key("target", "owner");
  const struct {
    const char* what;
    std::vector<KeyRecord> locked;
    int other_owners;
    const char* said;
  } cases[] = {
      {"no other", {system, last}, 0, "LAST_OWNER"},
      {"another that is not locked", {system, last}, 1, kWrite},
      {"another that is locked", {system, last, Key("other", "owner")}, 0, kWrite},
      {"one that expires", {system, last, Key("other", "owner", kLater)}, 0, "LAST_OWNER"},
      {"one that is deleted", {system, last, Deleted(Key("other", "owner"))}, 0, "LAST_OWNER"},
      {"one of another organization", {system, last, In("beta", Key("other", "owner"))}, 0, "LAST_OWNER"},
      {"an admin", {system, last, Key("other", "admin")}, 0, "LAST_OWNER"},
      {"a target that expires itself", {system, Key("target", "owner", kLater)}, 0, kWrite},
      {"a target that is an admin", {system, Key("target", "admin")}, 0, kWrite},
  };
  for (const auto& c : cases) {
    const LockedState state = [&c] {
      LockedState out = StateWith(c.locked);
      out.other_owners = c.other_owners;
      return out;
    }();
    EXPECT_EQ(Said(Delete(state, system, Removal())), c.said) << c.what;
    EXPECT_EQ(Said(Update(state, system, ToRole("viewer"))), c.said) << c.what;
    EXPECT_EQ(Said(Update(state, system, ToEnd(At(kSoon)))), c.said) << c.what;
    // It stays an owner that lasts, whatever else becomes of it.
    EXPECT_EQ(Said(Update(state, system, Rename())), kWrite) << c.what;
  }
}

TEST(DecideUpdateAndDelete, AnOwnerIsGivenUpUnderTheOrganizationsLockAlone) {
  const KeyRecord caller = Key("caller", "owner");
  const KeyRecord target = Key("target", "owner");
  const LockedState state = StateWith({caller, target});
  for (const bool locked : {kUnlocked, kLocked}) {
    const char* const said = locked ? kWrite : kStartOver;
    EXPECT_EQ(Said(Delete(state, caller, Removal(), locked)), said);
    EXPECT_EQ(Said(Update(state, caller, ToRole("admin"), locked)), said);
    EXPECT_EQ(Said(Update(state, caller, ToEnd(At(kSoon)), locked)), said);
    // No owner is given up.
    EXPECT_EQ(Said(Update(state, caller, Rename(), locked)), kWrite);
    EXPECT_EQ(Said(Delete(StateWith({caller, Key("target", "admin")}), caller, Removal(), locked)), kWrite);
  }
  EXPECT_EQ(Delete(state, caller, Removal(), kUnlocked)->key, target);
  EXPECT_EQ(Update(state, caller, ToRole("admin"), kUnlocked)->key, target);
  // What is refused anyway needs no other lock.
  EXPECT_EQ(Said(Delete(state, caller, Removal(DeleteReason::kUnused, "nonsense"), kUnlocked)), "ETAG_MISMATCH");
}

}  // namespace
}  // namespace latchkey::keys
