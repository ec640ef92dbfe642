#include "server/keys/admin/key_registry.h"

#include <gtest/gtest.h>

#include <functional>
#include <utility>

#include "server/keys/admin/etag.h"
#include "tests/support/forwarding_store.h"
#include "tests/support/memory_service.h"
#include "tests/support/status_matchers.h"

namespace latchkey::keys {
namespace {

using core::Decision;
using testing::HasReason;
using testing::IsError;
using testing::IsOk;
using testing::MemoryService;

constexpr auto kDenied = absl::StatusCode::kPermissionDenied;
constexpr auto kPrecondition = absl::StatusCode::kFailedPrecondition;

KeyEdit Edit(const KeyRecord& key) {
  KeyEdit edit;
  edit.organization = key.organization;
  edit.kid = key.kid;
  return edit;
}

KeyEdit WithRole(const KeyRecord& key, const std::string& role) {
  KeyEdit edit = Edit(key);
  edit.role = role;
  return edit;
}

std::vector<std::string> IdsOf(const absl::StatusOr<RolePage>& page) {
  std::vector<std::string> ids;
  for (const RoleRecord& role : page->roles) ids.push_back(role.id);
  return ids;
}

// Lets something happen right after the first ReadKey: between a look at the target and the locks.
class AfterFirstRead : public testing::ForwardingStore {
 public:
  AfterFirstRead(storage::KeyStore& behind, std::function<void()> happens)
      : ForwardingStore(behind), happens_(std::move(happens)) {}
  absl::StatusOr<std::optional<KeyRecord>> ReadKey(const std::string& organization, const std::string& kid) override {
    auto key = behind().ReadKey(organization, kid);
    if (const auto happens = std::exchange(happens_, nullptr)) happens();
    return key;
  }

 private:
  std::function<void()> happens_;
};

TEST(KeyRegistry, ANewKeyDoesNotExpireAndKnowsItsCreator) {
  MemoryService service;
  const IssuedKey issued = service.MustCreate(service.acme_owner, "acme", "editor");
  EXPECT_EQ(issued.key.expires_at, Never());
  EXPECT_EQ(issued.key.creator, service.acme_owner.name());
  EXPECT_EQ(issued.key.versions.size(), 1u);
  EXPECT_EQ(KeyRegistry::StateOf(issued.key, service.now), KeyRegistry::State::kActive);
  const auto read = service.registry.Get(service.acme_owner, "acme", issued.key.kid);
  ASSERT_THAT(read, IsOk());
  EXPECT_EQ(*read, issued.key);
}

TEST(KeyRegistry, TheStoredHashIsArgon2idAndHoldsNothingOfTheKeyString) {
  MemoryService service;
  const IssuedKey issued = service.MustCreate(service.acme_owner, "acme", "editor");
  const auto secrets = service.store.ReadSecrets(issued.key.kid);
  ASSERT_THAT(secrets, IsOk());
  ASSERT_EQ(secrets->size(), 1u);
  EXPECT_TRUE(ParsePhc(secrets->front().hash).has_value());
  const auto parts = core::ParseKeyString(issued.key_string.Expose());
  EXPECT_EQ(secrets->front().hash.find(std::string(parts->secret)), std::string::npos);
}

// The ceiling over the built-in roles: who may give which role.
TEST(Ceiling, ARoleCanOnlyBeEqualToOrLesserThanTheCreators) {
  MemoryService service;
  const KeyRecord admin = service.MustCreate(service.acme_owner, "acme", "admin").key;
  const std::map<std::string, std::vector<std::string>> may_give = {
      {"owner", {"owner", "admin", "editor", "viewer", "verifier"}},
      {"admin", {"admin", "editor", "viewer", "verifier"}},
  };
  for (const auto& [role, allowed] : may_give) {
    const Principal caller = role == "owner" ? service.acme_owner : service.As(admin);
    for (const RoleRecord& wanted : BuiltInRoles()) {
      const auto issued = service.Create(caller, "acme", wanted.id);
      if (std::find(allowed.begin(), allowed.end(), wanted.id) != allowed.end()) {
        EXPECT_THAT(issued, IsOk()) << role << " gives " << wanted.id;
      } else {
        EXPECT_THAT(issued, IsError(kDenied, "ROLE_EXCEEDS_CREATOR")) << role << " gives " << wanted.id;
      }
    }
  }
  for (const char* role : {"editor", "viewer", "verifier"}) {
    const KeyRecord lesser = service.MustCreate(service.acme_owner, "acme", role).key;
    EXPECT_THAT(service.Create(service.As(lesser), "acme", "viewer"), IsError(kDenied, "PERMISSION_MISSING"));
  }
}

TEST(Ceiling, IncomparableCustomRolesMeanDeny) {
  MemoryService service;
  service.PutRole("acme", "minter", {"latchkey.keys.create", "app.a"});
  service.PutRole("acme", "within", {"app.a"});
  service.PutRole("acme", "beside", {"app.b"});
  const KeyRecord minter = service.MustCreate(service.acme_owner, "acme", "minter").key;
  EXPECT_THAT(service.Create(service.As(minter), "acme", "within"), IsOk());
  EXPECT_THAT(service.Create(service.As(minter), "acme", "beside"), IsError(kDenied, "ROLE_EXCEEDS_CREATOR"));
}

TEST(Ceiling, TheCallerIsJudgedAsItIsUnderTheLocksNotAsMemoryHadIt) {
  MemoryService service;
  const KeyRecord admin = service.MustCreate(service.acme_owner, "acme", "admin").key;
  const Principal stale = service.As(admin);
  ASSERT_THAT(service.registry.Update(service.acme_owner, WithRole(admin, "viewer")), IsOk());
  EXPECT_THAT(service.Create(stale, "acme", "viewer"), IsError(kDenied, "PERMISSION_MISSING"));
  ASSERT_THAT(service.registry.Delete(service.acme_owner, {"acme", admin.kid}), IsOk());
  EXPECT_THAT(service.Create(stale, "acme", "viewer"),
              IsError(absl::StatusCode::kUnauthenticated, "CREDENTIALS_INVALID"));
}

TEST(Ceiling, AKeyCanNotOutliveItsCreator) {
  MemoryService service;
  const KeyRecord admin =
      service.MustCreate(service.acme_owner, "acme", "admin", {.at = std::nullopt, .ttl = absl::Hours(1)}).key;
  EXPECT_THAT(service.Create(service.As(admin), "acme", "viewer"), IsError(kDenied, "EXPIRY_EXCEEDS_CREATOR"));
  const auto child = service.Create(service.As(admin), "acme", "viewer", {.at = std::nullopt, .ttl = absl::Hours(1)});
  ASSERT_THAT(child, IsOk());
  KeyEdit forever = Edit(child->key);
  forever.expiration = Expiration();
  EXPECT_THAT(service.registry.Update(service.acme_owner, forever), IsError(kDenied, "EXPIRY_EXCEEDS_CREATOR"));
  service.Advance(absl::Hours(1));
  EXPECT_THAT(service.Create(service.As(admin), "acme", "viewer"), HasReason("CREDENTIALS_INVALID"));
}

TEST(Ceiling, AKeyThatExpiresCanNotHandItsRoleToOneThatDoesNot) {
  MemoryService service;
  const KeyRecord viewer = service.MustCreate(service.acme_owner, "acme", "viewer").key;
  const KeyRecord admin = service.MustCreate(service.acme_owner, "acme", "admin").key;
  const Principal passing = service.As(
      service.MustCreate(service.acme_owner, "acme", "admin", {.at = std::nullopt, .ttl = absl::Hours(1)}).key);
  EXPECT_THAT(service.registry.Update(passing, WithRole(viewer, "admin")), IsError(kDenied, "EXPIRY_EXCEEDS_CREATOR"));
  // Lowering and renaming grant nothing.
  EXPECT_THAT(service.registry.Update(passing, WithRole(admin, "viewer")), IsOk());
  KeyEdit rename = Edit(viewer);
  rename.display_name = "renamed";
  EXPECT_THAT(service.registry.Update(passing, rename), IsOk());
}

TEST(Ceiling, AnUpdateNeedsOldAndNewAtMostTheCaller) {
  MemoryService service;
  const KeyRecord admin = service.MustCreate(service.acme_owner, "acme", "admin").key;
  const KeyRecord owner = service.MustCreate(service.acme_owner, "acme", "owner").key;
  const KeyRecord editor = service.MustCreate(service.acme_owner, "acme", "editor").key;
  KeyEdit rename = Edit(owner);
  rename.display_name = "mine now";
  EXPECT_THAT(service.registry.Update(service.As(admin), rename), IsError(kDenied, "ROLE_EXCEEDS_CREATOR"));
  EXPECT_THAT(service.registry.Update(service.As(admin), WithRole(owner, "viewer")), HasReason("ROLE_EXCEEDS_CREATOR"));
  EXPECT_THAT(service.registry.Update(service.As(admin), WithRole(editor, "owner")), HasReason("ROLE_EXCEEDS_CREATOR"));
  EXPECT_THAT(service.registry.Update(service.As(admin), WithRole(admin, "owner")), HasReason("ROLE_EXCEEDS_CREATOR"));
  EXPECT_THAT(service.registry.Update(service.As(admin), WithRole(editor, "admin")), IsOk());
}

TEST(Ceiling, NobodyRaisesAKeyAboveItsLiveCreator) {
  MemoryService service;
  const KeyRecord admin = service.MustCreate(service.acme_owner, "acme", "admin").key;
  const KeyRecord child = service.MustCreate(service.As(admin), "acme", "viewer").key;
  EXPECT_THAT(service.registry.Update(service.acme_owner, WithRole(child, "owner")), HasReason("ROLE_EXCEEDS_CREATOR"));
  ASSERT_THAT(service.registry.Delete(service.acme_owner, {"acme", admin.kid}), IsOk());
  EXPECT_THAT(service.registry.Update(service.acme_owner, WithRole(child, "owner")), IsOk());
}

TEST(Ceiling, ACreatorIsNotLoweredBelowWhatItCreated) {
  MemoryService service;
  const KeyRecord admin = service.MustCreate(service.acme_owner, "acme", "admin").key;
  const KeyRecord one = service.MustCreate(service.As(admin), "acme", "editor").key;
  service.MustCreate(service.As(admin), "acme", "viewer");
  const auto refused = service.registry.Update(service.acme_owner, WithRole(admin, "viewer"));
  ASSERT_THAT(refused, IsError(kPrecondition, "DESCENDANTS_EXCEED_CREATOR"));
  EXPECT_EQ(errors::DetailOf(refused.status())->metadata.at("count"), "1");
  KeyEdit shorter = Edit(admin);
  shorter.expiration = Expiration{.at = std::nullopt, .ttl = absl::Hours(1)};
  EXPECT_THAT(service.registry.Update(service.acme_owner, shorter), HasReason("DESCENDANTS_EXCEED_CREATOR"));
  ASSERT_THAT(service.registry.Delete(service.acme_owner, {"acme", one.kid}), IsOk());
  EXPECT_THAT(service.registry.Update(service.acme_owner, WithRole(admin, "viewer")), IsOk());
}

TEST(Ceiling, ADeleteNeedsTheTargetAtMostTheCallerAndKeepsWhatItCreated) {
  MemoryService service;
  const KeyRecord admin = service.MustCreate(service.acme_owner, "acme", "admin").key;
  const IssuedKey child = service.MustCreate(service.As(admin), "acme", "viewer");
  const KeyRecord owner = service.MustCreate(service.acme_owner, "acme", "owner").key;
  EXPECT_THAT(service.registry.Delete(service.As(admin), {"acme", owner.kid}),
              IsError(kDenied, "ROLE_EXCEEDS_CREATOR"));
  ASSERT_THAT(service.registry.Delete(service.acme_owner, {"acme", admin.kid}), IsOk());
  EXPECT_EQ(service.MustVerify(child.key_string.Expose()), Decision::kAllowed);
}

TEST(KeyRegistry, UpdateWritesOnlyWhatIsSet) {
  MemoryService service;
  const KeyRecord key = service.MustCreate(service.acme_owner, "acme", "editor").key;
  KeyEdit edit = Edit(key);
  edit.display_name = "renamed";
  service.Advance(absl::Seconds(1));
  const auto renamed = service.registry.Update(service.acme_owner, edit);
  ASSERT_THAT(renamed, IsOk());
  KeyRecord expected = key;
  expected.display_name = "renamed";
  expected.updated_at = service.now;
  expected.revision = renamed->record.revision;
  EXPECT_EQ(renamed->record, expected);
  EXPECT_GT(renamed->record.revision, key.revision);
  // The same again changes nothing, not even the revision.
  EXPECT_EQ(service.registry.Update(service.acme_owner, edit)->record.revision, renamed->record.revision);
}

TEST(KeyRegistry, AnEtagOfAnOlderStateIsRefused) {
  MemoryService service;
  const KeyRecord key = service.MustCreate(service.acme_owner, "acme", "editor").key;
  KeyEdit edit = Edit(key);
  edit.display_name = "one";
  edit.etag = EtagOf(key.revision);
  ASSERT_THAT(service.registry.Update(service.acme_owner, edit), IsOk());
  edit.display_name = "two";
  EXPECT_THAT(service.registry.Update(service.acme_owner, edit), IsError(absl::StatusCode::kAborted, "ETAG_MISMATCH"));
  EXPECT_THAT(service.registry.Delete(service.acme_owner, {"acme", key.kid, EtagOf(key.revision)}),
              HasReason("ETAG_MISMATCH"));
}

TEST(KeyRegistry, DeletingADeletedKeySucceedsAndMayOnlyStrengthenTheReason) {
  MemoryService service;
  const KeyRecord key = service.MustCreate(service.acme_owner, "acme", "editor").key;
  const std::string etag = EtagOf(key.revision);
  ASSERT_THAT(service.registry.Delete(service.acme_owner, {"acme", key.kid, etag, DeleteReason::kUnused}), IsOk());
  auto again = service.registry.Delete(service.acme_owner, {"acme", key.kid, etag, DeleteReason::kOwnerLeft});
  ASSERT_THAT(again, IsOk());  // A retry, also with the etag of before.
  EXPECT_EQ(again->record.delete_reason, DeleteReason::kUnused);
  again = service.registry.Delete(service.acme_owner, {"acme", key.kid, "", DeleteReason::kCompromised});
  ASSERT_THAT(again, IsOk());
  EXPECT_EQ(again->record.delete_reason, DeleteReason::kCompromised);
  again = service.registry.Delete(service.acme_owner, {"acme", key.kid, "", DeleteReason::kUnspecified});
  EXPECT_EQ(again->record.delete_reason, DeleteReason::kCompromised);
  KeyEdit rename = Edit(key);
  rename.display_name = "back from the dead";
  EXPECT_THAT(service.registry.Update(service.acme_owner, rename), IsError(kPrecondition, "KEY_DELETED"));
  EXPECT_EQ(KeyRegistry::StateOf(again->record, service.now), KeyRegistry::State::kDeleted);
  EXPECT_THAT(service.registry.Get(service.acme_owner, "acme", key.kid), IsOk());
}

TEST(KeyRegistry, TwoOwnersCanRevokeAndLowerEachOther) {
  for (const bool lower : {false, true}) {
    MemoryService service;
    const KeyRecord second = service.MustCreate(service.acme_owner, "acme", "owner").key;
    KeyRecord first;
    first.organization = "acme";
    first.kid = service.acme_owner.kid;
    if (lower) {
      // The second would be left above its creator otherwise.
      EXPECT_THAT(service.registry.Update(service.acme_owner, WithRole(second, "admin")), IsOk());
    } else {
      EXPECT_THAT(service.registry.Delete(service.As(second), {"acme", first.kid}), IsOk());
    }
    const Principal last = lower ? service.acme_owner : service.As(second);
    EXPECT_THAT(service.registry.Delete(last, {"acme", last.kid}), IsError(kPrecondition, "LAST_OWNER"));
  }
}

TEST(KeyRegistry, AKeyThatBecomesAnOwnerAfterItWasLookedAtIsStillDeletedOrLowered) {
  for (const bool lower : {false, true}) {
    MemoryService service;
    const KeyRecord key = service.MustCreate(service.acme_owner, "acme", "viewer").key;
    AfterFirstRead store(service.store, [&] {
      EXPECT_THAT(service.registry.Update(service.acme_owner, WithRole(key, "owner")), IsOk());
    });
    KeyRegistry registry(store, store, service.index, service.follower, service.minter, service.clock, {});
    const auto changed = lower ? registry.Update(service.acme_owner, WithRole(key, "editor"))
                               : registry.Delete(service.acme_owner, {"acme", key.kid});
    ASSERT_THAT(changed, IsOk());
    const auto stored = service.registry.Get(service.acme_owner, "acme", key.kid);
    ASSERT_THAT(stored, IsOk());
    EXPECT_EQ(stored->deleted(), !lower);
    EXPECT_EQ(stored->role, lower ? "editor" : "owner");
    EXPECT_EQ(changed->record, *stored);
  }
}

TEST(KeyRegistry, TheLastOwnerOfSystemStays) {
  MemoryService service;
  const std::string kid = service.system_owner.kid;
  EXPECT_THAT(service.registry.Delete(service.system_owner, {"system", kid}), IsError(kPrecondition, "LAST_OWNER"));
  KeyEdit edit;
  edit.organization = "system";
  edit.kid = kid;
  edit.role = "admin";
  EXPECT_THAT(service.registry.Update(service.system_owner, edit), HasReason("LAST_OWNER"));
  edit.role.reset();
  edit.expiration = Expiration{.at = std::nullopt, .ttl = absl::Hours(1)};
  EXPECT_THAT(service.registry.Update(service.system_owner, edit), HasReason("LAST_OWNER"));
  // One that expires does not count as another owner; one that does not, does.
  service.MustCreate(service.system_owner, "system", "owner", {.at = std::nullopt, .ttl = absl::Hours(1)});
  EXPECT_THAT(service.registry.Delete(service.system_owner, {"system", kid}), HasReason("LAST_OWNER"));
  service.MustCreate(service.system_owner, "system", "owner");
  EXPECT_THAT(service.registry.Delete(service.system_owner, {"system", kid}), IsOk());
}

TEST(KeyRegistry, AReplayedRequestIdNamesTheKeyItMade) {
  MemoryService service;
  const std::string id = "7d0f2c1e-9f6e-4a4e-8a43-1f0e6e6f0a11";
  const auto first = service.Create(service.acme_owner, "acme", "viewer", {}, id);
  ASSERT_THAT(first, IsOk());
  const auto again = service.Create(service.acme_owner, "acme", "viewer", {}, id);
  ASSERT_THAT(again, IsError(absl::StatusCode::kAlreadyExists, "REQUEST_REPLAYED"));
  EXPECT_EQ(errors::DetailOf(again.status())->metadata.at("name"), core::KeyNameOf("acme", first->key.kid));
  const KeyRecord admin = service.MustCreate(service.acme_owner, "acme", "admin").key;
  EXPECT_THAT(service.Create(service.As(admin), "acme", "viewer", {}, id), IsOk());  // Another caller's id.
}

TEST(KeyRegistry, BadReferencesAreNamed) {
  MemoryService service;
  const auto unknown_role = service.Create(service.acme_owner, "acme", "no-such-role");
  ASSERT_THAT(unknown_role, IsError(absl::StatusCode::kInvalidArgument, "ROLE_UNKNOWN"));
  EXPECT_EQ(errors::DetailOf(unknown_role.status())->field, "key.role");
  EXPECT_THAT(service.Create(service.system_owner, "nowhere", "viewer"), HasReason("ORGANIZATION_NOT_FOUND"));
  const auto past =
      service.Create(service.acme_owner, "acme", "viewer", {.at = service.now - absl::Seconds(1), .ttl = std::nullopt});
  ASSERT_THAT(past, IsError(absl::StatusCode::kInvalidArgument, "FIELD_INVALID"));
  EXPECT_EQ(errors::DetailOf(past.status())->field, "key.expire_time");
}

TEST(Isolation, NothingOfOneOrganizationIsSeenOrTouchedByAnother) {
  MemoryService service;
  ASSERT_THAT(service.organizations.Create(service.system_owner, {.id = "beta", .display_name = "Beta"}), IsOk());
  const Principal beta = service.As(service.MustCreate(service.system_owner, "beta", "owner").key);
  const IssuedKey acme_key = service.MustCreate(service.acme_owner, "acme", "viewer");
  const std::string& kid = acme_key.key.kid;
  EXPECT_THAT(service.registry.Get(beta, "acme", kid), HasReason("KEY_NOT_FOUND"));
  EXPECT_THAT(service.registry.Get(beta, "beta", kid), HasReason("KEY_NOT_FOUND"));  // Under a false parent.
  EXPECT_THAT(service.registry.Delete(beta, {"acme", kid}), HasReason("KEY_NOT_FOUND"));
  EXPECT_THAT(service.registry.Delete(beta, {"beta", kid}), HasReason("KEY_NOT_FOUND"));
  KeyEdit rename = Edit(acme_key.key);
  rename.display_name = "theirs";
  EXPECT_THAT(service.registry.Update(beta, rename), HasReason("KEY_NOT_FOUND"));
  rename.organization = "beta";
  EXPECT_THAT(service.registry.Update(beta, rename), HasReason("KEY_NOT_FOUND"));
  EXPECT_THAT(service.registry.List(beta, {.organization = "acme"}), HasReason("ORGANIZATION_NOT_FOUND"));
  EXPECT_THAT(service.Create(beta, "acme", "viewer"), HasReason("ORGANIZATION_NOT_FOUND"));
  EXPECT_THAT(service.Create(beta, "system", "viewer"), HasReason("ORGANIZATION_NOT_FOUND"));
  EXPECT_THAT(service.organizations.Get(beta, "acme"), HasReason("ORGANIZATION_NOT_FOUND"));
  EXPECT_THAT(service.organizations.Create(beta, {.id = "gamma"}), HasReason("PERMISSION_MISSING"));
  EXPECT_THAT(service.roles.List(beta, "acme", false, "", 10), HasReason("ORGANIZATION_NOT_FOUND"));
  const auto own = service.organizations.List(beta, "", true, 10);
  ASSERT_THAT(own, IsOk());
  ASSERT_EQ(own->organizations.size(), 1u);
  EXPECT_EQ(own->organizations.front().id, "beta");
  // Word for word the same as for what does not exist.
  const std::string none(16, '0');
  EXPECT_EQ(service.registry.Get(beta, "acme", kid).status().message(), "no key " + core::KeyNameOf("acme", kid));
  EXPECT_EQ(service.registry.Get(beta, "acme", none).status().message(), "no key " + core::KeyNameOf("acme", none));
}

TEST(KeyRegistry, AnOrganizationHasNoMoreLiveKeysThanItsQuota) {
  MemoryService service;
  const OrganizationEdit three{.id = "acme", .max_keys = 3};
  ASSERT_THAT(service.organizations.Update(service.system_owner, three), IsOk());
  // The owner is one of them.
  std::vector<KeyRecord> made;
  for (int i = 0; i < 2; ++i) made.push_back(service.MustCreate(service.acme_owner, "acme", "viewer").key);
  EXPECT_THAT(service.Create(service.acme_owner, "acme", "viewer"), HasReason("QUOTA_EXCEEDED"));
  EXPECT_THAT(service.Create(service.system_owner, "acme", "viewer"), HasReason("QUOTA_EXCEEDED"));
  EXPECT_THAT(service.Create(service.system_owner, "system", "viewer"), IsOk()) << "another's quota";
  ASSERT_THAT(service.registry.Delete(service.acme_owner, {.organization = "acme", .kid = made[0].kid}), IsOk());
  EXPECT_THAT(service.Create(service.acme_owner, "acme", "viewer"), IsOk());
  EXPECT_THAT(service.organizations.Update(service.acme_owner, {.id = "acme", .max_keys = 100}),
              HasReason("PERMISSION_MISSING"));
  ASSERT_THAT(service.organizations.Update(service.system_owner, {.id = "acme", .max_keys = 0}), IsOk());
  EXPECT_EQ(service.organizations.Get(service.acme_owner, "acme")->key_quota(), kDefaultMaxKeys);
  EXPECT_THAT(service.Create(service.acme_owner, "acme", "viewer"), IsOk());
}

TEST(Roles, AssignableOnlyShowsWhatTheCallerMayGive) {
  MemoryService service;
  service.PutRole("acme", "beside", {"other.thing"});
  const Principal admin = service.As(service.MustCreate(service.acme_owner, "acme", "admin").key);
  EXPECT_EQ(IdsOf(service.roles.List(admin, "acme", false, "", 10)),
            (std::vector<std::string>{"owner", "admin", "editor", "viewer", "verifier", "beside"}));
  EXPECT_EQ(IdsOf(service.roles.List(admin, "acme", true, "", 10)),
            (std::vector<std::string>{"admin", "editor", "viewer", "verifier"}));
}

TEST(Roles, PagesGoOnAfterARoleAlsoIfItIsGone) {
  MemoryService service;
  for (const char* id : {"auditor", "deployer", "zeta"}) service.PutRole("acme", id, {"app.read"});
  const Principal& owner = service.acme_owner;
  const std::vector<std::string> all = IdsOf(service.roles.List(owner, "acme", false, "", 100));
  ASSERT_EQ(all.size(), 8u);
  for (int size = 1; size <= 9; ++size) {
    std::vector<std::string> seen;
    std::string after;
    do {
      const auto page = service.roles.List(owner, "acme", false, after, size);
      ASSERT_THAT(page, IsOk());
      EXPECT_LE(page->roles.size(), static_cast<size_t>(size));
      for (const RoleRecord& role : page->roles) seen.push_back(role.id);
      after = page->next;
    } while (!after.empty());
    EXPECT_EQ(seen, all) << size;
  }
  EXPECT_EQ(IdsOf(service.roles.List(owner, "acme", false, "builder", 100)),
            (std::vector<std::string>{"deployer", "zeta"}));
  // A page whose every role is left out is not the last.
  const Principal viewer = service.As(service.MustCreate(owner, "acme", "viewer").key);
  const auto empty = service.roles.List(viewer, "acme", true, "", 1);
  EXPECT_TRUE(empty->roles.empty());
  EXPECT_EQ(empty->next, "owner");
}

// Another way to the same keys, which counts what goes by it.
class CountedStore : public testing::ForwardingStore {
 public:
  using ForwardingStore::ForwardingStore;
  absl::StatusOr<storage::Committed> Commit(const storage::LockPlan& plan, Decide decide) override {
    ++commits;
    return behind().Commit(plan, decide);
  }
  int commits = 0;
};

TEST(KeyRegistry, WhatMayTakeSomethingAwayGoesByTheRevocationsSessions) {
  MemoryService service;
  CountedStore store(service.store);
  CountedStore revocations(service.store);
  KeyRegistry registry(store, revocations, service.index, service.follower, service.minter, service.clock, {});
  const auto made = registry.Create(service.acme_owner, {.organization = "acme", .display_name = "k", .role = "viewer"},
                                    absl::InfiniteDuration());
  ASSERT_THAT(made, IsOk());
  KeyEdit rename = Edit(made->key);
  rename.display_name = "renamed";
  EXPECT_THAT(registry.Update(service.acme_owner, rename), IsOk());
  EXPECT_EQ(store.commits, 2);
  EXPECT_EQ(revocations.commits, 0);
  EXPECT_THAT(registry.Update(service.acme_owner, WithRole(made->key, "editor")), IsOk());
  KeyEdit narrow = Edit(made->key);
  narrow.allowed_cidrs = {"10.0.0.0/8"};
  EXPECT_THAT(registry.Update(service.acme_owner, narrow), IsOk());
  EXPECT_THAT(registry.Delete(service.acme_owner, {.organization = "acme", .kid = made->key.kid}), IsOk());
  EXPECT_EQ(store.commits, 2);
  EXPECT_EQ(revocations.commits, 3);
}

TEST(KeyRegistry, ListPagesNewestFirstAndHidesDeletedKeysUnlessAsked) {
  MemoryService service;
  std::vector<std::string> kids;
  for (int i = 0; i < 3; ++i) {
    service.Advance(absl::Milliseconds(1));
    kids.push_back(service.MustCreate(service.acme_owner, "acme", "viewer").key.kid);
  }
  ASSERT_THAT(service.registry.Delete(service.acme_owner, {"acme", kids[1]}), IsOk());
  storage::KeyQuery query{.organization = "acme", .limit = 1};
  auto page = service.registry.List(service.acme_owner, query);
  ASSERT_THAT(page, IsOk());
  ASSERT_EQ(page->keys.size(), 1u);
  EXPECT_EQ(page->keys[0].kid, kids[2]);
  EXPECT_TRUE(page->more);
  query.before_created_at = page->keys[0].created_at;
  query.before_kid = page->keys[0].kid;
  query.limit = 10;
  page = service.registry.List(service.acme_owner, query);
  ASSERT_THAT(page, IsOk());
  ASSERT_EQ(page->keys.size(), 2u);  // The oldest of ours and the first owner.
  EXPECT_EQ(page->keys[0].kid, kids[0]);
  EXPECT_FALSE(page->more);
  query.show_deleted = true;
  EXPECT_EQ(service.registry.List(service.acme_owner, query)->keys.size(), 3u);
}

TEST(KeyRegistry, WhenTheDatabaseIsAwayNothingIsChangedAndNothingIsLost) {
  MemoryService service;
  const IssuedKey key = service.MustCreate(service.acme_owner, "acme", "viewer");
  service.store.SetUnavailable(true);
  EXPECT_THAT(service.Create(service.acme_owner, "acme", "viewer"),
              IsError(absl::StatusCode::kUnavailable, "DATABASE_UNAVAILABLE"));
  EXPECT_THAT(service.registry.Delete(service.acme_owner, {"acme", key.key.kid}), HasReason("DATABASE_UNAVAILABLE"));
  EXPECT_EQ(service.MustVerify(key.key_string.Expose()), Decision::kAllowed);
  service.store.SetUnavailable(false);
  EXPECT_THAT(service.registry.Delete(service.acme_owner, {"acme", key.key.kid}), IsOk());
}

TEST(Bootstrap, WorksOnceAndKeepsNothingTheSecondTime) {
  MemoryService service;
  Bootstrap again(service.store, service.minter, "test");
  bool kept = false;
  const auto keep = [&kept](const std::vector<MintedKey>&) {
    kept = true;
    return absl::OkStatus();
  };
  EXPECT_THAT(again.Run({{"system", "x", "owner"}}, keep), IsError(kPrecondition, "ALREADY_BOOTSTRAPPED"));
  EXPECT_FALSE(kept);
}

}  // namespace
}  // namespace latchkey::keys
