#include "server/keys/verify/key_verifier.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "absl/strings/escaping.h"
#include "client/core/base62.h"
#include "server/keys/crypto/mac.h"
#include "tests/support/forwarding_store.h"
#include "tests/support/memory_service.h"
#include "tests/support/status_matchers.h"

namespace latchkey::keys {
namespace {

using core::Decision;
using testing::IsError;
using testing::IsOk;
using testing::MemoryService;

std::string WithSecret(const std::string& text, char digit) {
  std::string changed = text;
  const size_t first_of_secret = 21;
  changed[first_of_secret] = changed[first_of_secret] == digit ? '0' : digit;
  changed.resize(76);
  return changed + core::KeyCrc(changed);
}

// Between the reading of a key's secrets, which comes before its Argon2, and the end of the proof.
class WhileProving final : public testing::ForwardingStore {
 public:
  using ForwardingStore::ForwardingStore;
  absl::StatusOr<std::vector<StoredSecret>> ReadSecrets(const std::string& kid) override {
    absl::StatusOr<std::vector<StoredSecret>> secrets = ForwardingStore::ReadSecrets(kid);
    happens();
    return secrets;
  }
  std::function<void()> happens = [] {};
};

TEST(KeyVerifier, KeyThatIsRevokedWhileItsSecretIsProvenIsRevoked) {
  MemoryService service(MemoryService::Proofs::kMemory);
  const std::string_view key = service.acme_owner_string.Expose();
  WhileProving store(service.store);
  SecretChecker checker(store, service.index, service.ring, service.hashes, service.clock, {.shared = false});
  KeyVerifier verifier(service.index, service.ring, checker, service.clock);
  const int64_t hashes = service.hashes.computed();
  store.happens = [&] {
    service.DeleteOrganization("acme");
    ASSERT_THAT(service.follower.Renew(), IsOk());
  };
  const auto verdict = verifier.Verify({.key = key, .asker_organization = "system"}, absl::InfiniteDuration());
  ASSERT_THAT(verdict, IsOk());
  EXPECT_EQ(verdict->decision, Decision::kRevoked);
  EXPECT_EQ(service.hashes.computed(), hashes + 1) << "it was proven";
}

TEST(KeyVerifier, AllowsAKeyItHasIssuedWithoutAnyArgon2) {
  MemoryService service;
  const IssuedKey issued = service.MustCreate(service.acme_owner, "acme", "editor");
  const int64_t hashes = service.hashes.computed();
  const auto verdict = service.Verify(issued.key_string.Expose(), {"app.read"});
  ASSERT_THAT(verdict, IsOk());
  EXPECT_EQ(verdict->decision, Decision::kAllowed);
  EXPECT_EQ(verdict->identity->kid, issued.key.kid);
  EXPECT_EQ(verdict->identity->role, "editor");
  EXPECT_EQ(verdict->revision, issued.revision);
  EXPECT_EQ(verdict->revision.revision, issued.key.revision);
  EXPECT_EQ(verdict->lease_remaining, absl::Seconds(5));
  EXPECT_EQ(verdict->expires_in, absl::InfiniteDuration());
  EXPECT_EQ(service.hashes.computed(), hashes);
}

TEST(KeyVerifier, AKeyWithoutAStoredProofCostsOneArgon2AndThenNone) {
  MemoryService service(MemoryService::Proofs::kMemory);
  const int64_t hashes = service.hashes.computed();
  EXPECT_EQ(service.MustVerify(service.acme_owner_string.Expose()), Decision::kAllowed);
  EXPECT_EQ(service.hashes.computed(), hashes + 1);
  EXPECT_EQ(service.MustVerify(service.acme_owner_string.Expose()), Decision::kAllowed);
  EXPECT_EQ(service.hashes.computed(), hashes + 1);
}

TEST(KeyVerifier, AKeyOfAnotherServerCostsNoArgon2IfProofsAreShared) {
  MemoryService service;
  const int64_t hashes = service.hashes.computed();
  EXPECT_EQ(service.MustVerify(service.acme_owner_string.Expose()), Decision::kAllowed);
  EXPECT_EQ(service.hashes.computed(), hashes);
}

TEST(KeyVerifier, GarbageCostsNeitherDatabaseNorArgon2) {
  MemoryService service(MemoryService::Proofs::kMemory);
  const IssuedKey issued = service.MustCreate(service.acme_owner, "acme", "editor");
  const std::string good(issued.key_string.Expose());
  const int64_t hashes = service.hashes.computed();
  service.store.SetUnavailable(true);
  EXPECT_EQ(service.MustVerify(""), Decision::kMalformed);
  EXPECT_EQ(service.MustVerify(good.substr(1)), Decision::kMalformed);
  EXPECT_EQ(service.MustVerify(good + "x"), Decision::kMalformed);
  EXPECT_EQ(service.MustVerify(WithSecret(good, 'Q')), Decision::kNotFound);  // Wrong tag.
  // Also under the kid of a key that no proof is known of yet: the tag alone keeps it from Argon2.
  const std::string unproven(service.acme_owner_string.Expose());
  EXPECT_EQ(service.MustVerify(WithSecret(unproven, 'Q')), Decision::kNotFound);
  const std::string unknown_gen =
      core::AssembleKeyString("", std::string(16, 'k'), std::string(43, 's'), 'Z', std::string(11, 't'));
  EXPECT_EQ(service.MustVerify(unknown_gen), Decision::kNotFound);
  EXPECT_EQ(service.MustVerify(service.TheRing()->Mint().Expose()), Decision::kNotFound);  // Right tag, unknown kid.
  EXPECT_EQ(service.hashes.computed(), hashes);
}

// What only a holder of K_tag can make: the kid of a real key and another secret under the right tag and checksum.
std::string ForgedWithRightTag(const KeyRing& ring, const std::string& kid) {
  const auto json = nlohmann::json::parse(ring.Serialise().Expose());
  std::string k_tag;
  for (const auto& secret : json["secrets"]) {
    if (secret["purpose"] == "tag") absl::Base64Unescape(secret["secret"].get<std::string>(), &k_tag);
  }
  const std::string secret(43, 'x');
  const auto digest = Mac(core::Secret(std::move(k_tag))).Of({"lk1|tag|", kid, "|", secret});
  return core::AssembleKeyString("", kid, secret, '1', core::Base62Bytes({digest.data(), 8}, core::kTagLength));
}

TEST(KeyVerifier, AWrongSecretUnderARightTagIsNotFoundAndTellsNothing) {
  MemoryService service(MemoryService::Proofs::kMemory);
  const IssuedKey issued = service.MustCreate(service.acme_owner, "acme", "editor");
  const std::string forged = ForgedWithRightTag(*service.TheRing(), issued.key.kid);
  ASSERT_EQ(service.TheRing()->CheckTag(*core::ParseKeyString(forged)), KeyRing::TagCheck::kMinted);
  const int64_t hashes = service.hashes.computed();
  for (const bool deleted : {false, true}) {
    if (deleted) {
      ASSERT_THAT(service.registry.Delete(service.acme_owner, {"acme", issued.key.kid}), IsOk());
    }
    const auto verdict = service.Verify(forged);
    ASSERT_THAT(verdict, IsOk());
    EXPECT_EQ(verdict->decision, Decision::kNotFound);
    EXPECT_FALSE(verdict->identity.has_value());
  }
  // The version's proof is known, so a comparison decides. For an unproven one, Argon2 does.
  EXPECT_EQ(service.hashes.computed(), hashes);
  EXPECT_EQ(service.MustVerify(ForgedWithRightTag(*service.TheRing(), service.acme_owner.kid)), Decision::kNotFound);
  EXPECT_EQ(service.hashes.computed(), hashes + 1);
}

TEST(KeyVerifier, RevokedKeyIsDeniedEvenWithRightSecretAtOnce) {
  MemoryService service;
  const IssuedKey issued = service.MustCreate(service.acme_owner, "acme", "editor");
  EXPECT_EQ(service.MustVerify(issued.key_string.Expose()), Decision::kAllowed);
  ASSERT_THAT(service.registry.Delete(service.acme_owner, {"acme", issued.key.kid}), IsOk());
  const auto verdict = service.Verify(issued.key_string.Expose());
  ASSERT_THAT(verdict, IsOk());
  EXPECT_EQ(verdict->decision, Decision::kRevoked);
  EXPECT_TRUE(verdict->identity.has_value());
}

TEST(KeyVerifier, AfterPurgeTimeADeletedKeyIsNotFound) {
  MemoryService service;
  const IssuedKey issued = service.MustCreate(service.acme_owner, "acme", "editor");
  ASSERT_THAT(service.registry.Delete(service.acme_owner, {"acme", issued.key.kid}), IsOk());
  service.Advance(absl::Hours(24 * 90) + absl::Seconds(1));
  ASSERT_THAT(service.follower.Renew(), IsOk());
  const auto verdict = service.Verify(issued.key_string.Expose());
  ASSERT_THAT(verdict, IsOk());
  EXPECT_EQ(verdict->decision, Decision::kNotFound);
  EXPECT_FALSE(verdict->identity.has_value());
}

TEST(KeyVerifier, ExpiryIsJudgedByTheDatabasesClockBetweenPollsToo) {
  MemoryService service;
  const IssuedKey issued =
      service.MustCreate(service.acme_owner, "acme", "editor", {.at = std::nullopt, .ttl = absl::Seconds(3)});
  auto verdict = service.Verify(issued.key_string.Expose());
  ASSERT_THAT(verdict, IsOk());
  EXPECT_EQ(verdict->decision, Decision::kAllowed);
  EXPECT_EQ(verdict->expires_in, absl::Seconds(3));
  service.Advance(absl::Seconds(2));
  EXPECT_EQ(service.MustVerify(issued.key_string.Expose()), Decision::kAllowed);
  service.Advance(absl::Seconds(1));
  verdict = service.Verify(issued.key_string.Expose(), {"no.such.permission"});
  ASSERT_THAT(verdict, IsOk());
  EXPECT_EQ(verdict->decision, Decision::kExpired);  // Before PERMISSION_DENIED.
  EXPECT_EQ(verdict->expires_in, absl::ZeroDuration());
}

TEST(KeyVerifier, EveryRequiredPermissionMustBeCovered) {
  MemoryService service;
  const IssuedKey issued = service.MustCreate(service.acme_owner, "acme", "editor");
  EXPECT_EQ(service.MustVerify(issued.key_string.Expose(), {"app.read", "app.write"}), Decision::kAllowed);
  EXPECT_EQ(service.MustVerify(issued.key_string.Expose(), {"app.read", "app.publish"}), Decision::kPermissionDenied);
}

TEST(KeyVerifier, ACustomRoleIsHonouredAndANarrowedOneAtOnce) {
  MemoryService service;
  service.PutRole("acme", "publisher", {"app.pages.*"});
  const IssuedKey issued = service.MustCreate(service.acme_owner, "acme", "publisher");
  EXPECT_EQ(service.MustVerify(issued.key_string.Expose(), {"app.pages.publish"}), Decision::kAllowed);
  service.PutRole("acme", "publisher", {"app.pages.read"});
  EXPECT_EQ(service.MustVerify(issued.key_string.Expose(), {"app.pages.publish"}), Decision::kPermissionDenied);
  service.PutRole("acme", "publisher", {}, /*removed=*/true);
  EXPECT_EQ(service.MustVerify(issued.key_string.Expose(), {"app.pages.read"}), Decision::kPermissionDenied);
}

TEST(KeyVerifier, AKeyOfAnotherOrganizationIsNotFound) {
  MemoryService service;
  const IssuedKey issued = service.MustCreate(service.acme_owner, "acme", "editor");
  EXPECT_EQ(service.MustVerify(issued.key_string.Expose(), {}, "acme"), Decision::kAllowed);
  EXPECT_EQ(service.MustVerify(issued.key_string.Expose(), {}, "system"), Decision::kAllowed);
  EXPECT_EQ(service.MustVerify(issued.key_string.Expose(), {}, "other"), Decision::kNotFound);
}

TEST(KeyVerifier, AKeyOfADeletedOrganizationIsRevoked) {
  MemoryService service;
  const IssuedKey issued = service.MustCreate(service.acme_owner, "acme", "editor");
  service.DeleteOrganization("acme");
  EXPECT_EQ(service.MustVerify(issued.key_string.Expose()), Decision::kRevoked);
  EXPECT_THAT(service.Create(service.system_owner, "acme", "viewer"), testing::HasReason("ORGANIZATION_NOT_FOUND"));
}

TEST(KeyVerifier, WithoutALeaseItCanNotDecideAndNeverSaysNotFound) {
  MemoryService service(MemoryService::Proofs::kMemory);
  const IssuedKey issued = service.MustCreate(service.acme_owner, "acme", "editor");
  const std::string unknown(service.TheRing()->Mint().Expose());
  service.store.SetUnavailable(true);
  service.Advance(absl::Seconds(5) - absl::Nanoseconds(1));
  EXPECT_EQ(service.MustVerify(issued.key_string.Expose()), Decision::kAllowed);
  service.Advance(absl::Nanoseconds(1));
  for (const std::string& text :
       {std::string(issued.key_string.Expose()), unknown, std::string(service.acme_owner_string.Expose())}) {
    EXPECT_THAT(service.Verify(text), IsError(absl::StatusCode::kUnavailable, "LEASE_EXPIRED"));
  }
  EXPECT_EQ(service.MustVerify("nonsense"), Decision::kMalformed);
  service.store.SetUnavailable(false);
  ASSERT_THAT(service.follower.Renew(), IsOk());
  EXPECT_EQ(service.MustVerify(issued.key_string.Expose()), Decision::kAllowed);
}

TEST(KeyVerifier, AnUnprovenKeyNeedsTheDatabaseAndSaysSo) {
  MemoryService service(MemoryService::Proofs::kMemory);
  service.store.SetUnavailable(true);
  EXPECT_THAT(service.Verify(service.acme_owner_string.Expose()),
              IsError(absl::StatusCode::kUnavailable, "DATABASE_UNAVAILABLE"));
}

TEST(KeyVerifier, ARingThatLacksThePepperCanNotDecide) {
  MemoryService service;
  // A record naming a pepper this ring does not hold, as after a ring was swapped for one without it.
  const core::Secret text = service.TheRing()->Mint();
  const auto parts = core::ParseKeyString(text.Expose());
  const auto decide = [&](const storage::LockedState& state) -> absl::StatusOr<storage::Mutation> {
    Change change;
    change.key = KeyRecord{.organization = "acme",
                           .kid = std::string(parts->kid),
                           .role = "viewer",
                           .created_at = state.now,
                           .updated_at = state.now,
                           .versions = {SecretVersion{1, state.now, Never()}}};
    change.new_secret = NewSecret{1, "$argon2id$v=19$m=1024,t=1,p=1$c2FsdHNhbHRzYWx0$aGFzaGhhc2hoYXNoaGFzaA", "77"};
    change.body = EncodeBody(change, Audit());
    storage::Mutation mutation;
    mutation.changes.push_back(change);
    return mutation;
  };
  ASSERT_THAT(service.store.Commit({.organization = "acme"}, decide), IsOk());
  ASSERT_THAT(service.follower.Renew(), IsOk());
  EXPECT_THAT(service.Verify(text.Expose()), IsError(absl::StatusCode::kUnavailable, "KEY_RING_LACKS_ID"));
}

}  // namespace
}  // namespace latchkey::keys
