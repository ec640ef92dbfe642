#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "server/keys/admin/bootstrap.h"
#include "server/keys/admin/key_registry.h"
#include "server/keys/admin/organizations.h"
#include "server/keys/admin/roles.h"
#include "server/keys/replication/watch_hub.h"
#include "server/keys/verify/key_verifier.h"
#include "server/keys/verify/secret_checker.h"
#include "server/keys/verify/usage_counter.h"
#include "server/model/built_in_roles.h"
#include "server/model/change_codec.h"
#include "tests/support/fake_clock.h"
#include "tests/support/memory_store/memory_key_store.h"

namespace latchkey::testing {

// The whole domain on a MemoryKeyStore, with clocks driven by hand: organization `acme`, an owner of `system` and one
// of `acme`. Follows the log only when told to (follower.Renew()); own writes are followed at once, as in the server.
class MemoryService {
 public:
  // With --proofs=shared the first keys are proven by what is stored; with --proofs=memory nobody knows them yet.
  enum class Proofs { kShared, kMemory };
  explicit MemoryService(Proofs proofs = Proofs::kShared) : proofs_(proofs) {
    EXPECT_TRUE(follower.Renew().ok());
    keys::Bootstrap bootstrapper(store, minter, "test");
    const auto keep = [this](const std::vector<keys::MintedKey>& minted) {
      system_owner = PrincipalOf("system", minted[0].kid, keys::kOwnerRole);
      acme_owner = PrincipalOf("acme", minted[1].kid, keys::kOwnerRole);
      system_owner_string = minted[0].key_string.Clone();
      acme_owner_string = minted[1].key_string.Clone();
      return absl::OkStatus();
    };
    EXPECT_TRUE(
        bootstrapper.Run({{"system", "First owner", keys::kOwnerRole}, {"acme", "First owner", keys::kOwnerRole}}, keep)
            .ok());
    EXPECT_TRUE(follower.Renew().ok());
  }

  // Both clocks.
  void Advance(absl::Duration by) {
    clock.Advance(by);
    now += by;
  }

  keys::Principal PrincipalOf(const std::string& organization, const std::string& kid, const std::string& role) {
    keys::Principal principal;
    principal.organization = organization;
    principal.kid = kid;
    principal.role = role;
    const keys::KeyIndex::Pin pin(index);
    if (const auto* const found = pin.FindRole(organization, role)) principal.permissions = found->permissions;
    principal.peer = "ipv4:127.0.0.1:1";
    return principal;
  }

  absl::StatusOr<keys::IssuedKey> Create(const keys::Principal& caller, const std::string& organization,
                                         const std::string& role, keys::Expiration expiration = {},
                                         const std::string& request_id = "") {
    keys::NewKey wanted;
    wanted.organization = organization;
    wanted.display_name = "a key";
    wanted.role = role;
    wanted.expiration = expiration;
    wanted.request_id = request_id;
    return registry.Create(caller, wanted, absl::InfiniteDuration());
  }

  // A key that must be made, and who it is.
  keys::IssuedKey MustCreate(const keys::Principal& caller, const std::string& organization, const std::string& role,
                             keys::Expiration expiration = {}) {
    auto issued = Create(caller, organization, role, expiration);
    EXPECT_TRUE(issued.ok()) << issued.status();
    return issued.ok() ? *std::move(issued) : keys::IssuedKey();
  }
  keys::Principal As(const keys::KeyRecord& key) { return PrincipalOf(key.organization, key.kid, key.role); }

  // Commits one change, as an RPC that does not exist yet will.
  void Put(const std::string& organization, const std::function<keys::Change(const storage::LockedState&)>& make) {
    const auto decide = [&](const storage::LockedState& state) -> absl::StatusOr<storage::Mutation> {
      keys::Change change = make(state);
      change.body = keys::EncodeBody(change, keys::Audit());
      storage::Mutation mutation;
      mutation.changes.push_back(change);
      return mutation;
    };
    storage::LockPlan plan;
    plan.organization = organization;
    plan.lock_organization = true;
    const auto committed = store.Commit(plan, decide);
    ASSERT_TRUE(committed.ok()) << committed.status();
    follower.Deliver(*committed);
  }
  void PutRole(const std::string& organization, const std::string& id, std::vector<std::string> permissions,
               bool removed = false) {
    Put(organization, [&](const storage::LockedState& state) {
      keys::Change change;
      change.role = keys::RoleRecord{.organization = organization,
                                     .id = id,
                                     .display_name = id,
                                     .permissions = permissions,
                                     .created_at = state.now,
                                     .updated_at = state.now,
                                     .removed = removed};
      return change;
    });
  }
  void DeleteOrganization(const std::string& organization) {
    Put(organization, [](const storage::LockedState& state) {
      keys::Change change;
      change.organization = *state.organization;
      change.organization->deleted_at = state.now;
      return change;
    });
  }
  void SetBound(absl::Duration bound) {
    const auto settings = store.ReadSettings();
    ASSERT_TRUE(settings.ok());
    Put("system", [&](const storage::LockedState& state) {
      keys::Change change;
      change.settings = keys::Settings{.bound = bound, .previous_bound = settings->bound, .changed_at = state.now};
      return change;
    });
  }

  absl::StatusOr<keys::Verdict> Verify(std::string_view key_string, const std::vector<std::string>& required = {},
                                       std::string_view asker = "system") {
    return verifier.Verify({.key = key_string, .required_permissions = &required, .asker_organization = asker},
                           absl::InfiniteDuration());
  }
  core::Decision MustVerify(std::string_view key_string, const std::vector<std::string>& required = {},
                            std::string_view asker = "system") {
    const auto verdict = Verify(key_string, required, asker);
    EXPECT_TRUE(verdict.ok()) << verdict.status();
    return verdict.ok() ? verdict->decision : core::Decision::kUnspecified;
  }

  const Proofs proofs_;
  FakeClock clock;
  absl::Time now = absl::FromUnixSeconds(1'700'000'000);  // The database's.
  storage::MemoryKeyStore store{[this] { return now; }};
  keys::KeyRingHandle ring{keys::KeyRing::Generate()};
  // The present ring, for one expression.
  keys::KeyRingHandle::Pin TheRing() const { return keys::KeyRingHandle::Pin(ring); }
  keys::KeyIndex index;
  keys::WatchHub hub;
  keys::LogFollower follower{store, index, hub, clock, {}};
  keys::HashPool hashes{{.workers = 1, .profile = keys::RandomKeyProfile()}, clock};
  keys::KeyMinter minter{ring, hashes, proofs_ == Proofs::kShared};
  keys::SecretChecker checker{store, index, ring, hashes, clock, {.shared = proofs_ == Proofs::kShared}};
  keys::UsageCounter uses{store, {}};
  keys::KeyVerifier verifier{index, ring, checker, clock, &uses};
  keys::KeyRegistry registry{store, store, index, follower, minter, clock, {}};
  keys::Organizations organizations{store, follower, "test"};
  keys::Roles roles{store};
  keys::Principal system_owner;
  keys::Principal acme_owner;
  core::Secret system_owner_string;
  core::Secret acme_owner_string;
};

}  // namespace latchkey::testing
