#include "server/keys/crypto/key_ring.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

#include "server/keys/crypto/hash_pool.h"
#include "server/keys/crypto/key_minter.h"
#include "tests/support/fake_clock.h"
#include "tests/support/status_matchers.h"

namespace latchkey::keys {
namespace {

using ::latchkey::testing::FakeClock;
using ::latchkey::testing::HasCode;
using ::latchkey::testing::IsOk;
using Json = nlohmann::ordered_json;

Json JsonOf(const KeyRing& ring) { return Json::parse(ring.Serialise().Expose()); }

Json& EntryOf(Json& ring, const std::string& purpose) {
  for (Json& entry : ring["secrets"]) {
    if (entry["purpose"] == purpose) return entry;
  }
  ADD_FAILURE() << purpose;
  return ring;
}

// `ring` after a rotation of `purpose`: its secret is retired and one with id "2" is active.
Json Rotated(const KeyRing& ring, const std::string& purpose) {
  Json json = JsonOf(ring);
  EntryOf(json, purpose)["state"] = "retired";
  Json other = JsonOf(KeyRing::Generate());
  EntryOf(other, purpose)["id"] = "2";
  json["secrets"].push_back(EntryOf(other, purpose));
  return json;
}

TEST(KeyRing, MakesProofsUnderTheActiveGenerationAndFindsOlderOnes) {
  const KeyRing before = KeyRing::Generate();
  const auto after = KeyRing::Parse(Rotated(before, "proof").dump());
  ASSERT_THAT(after, IsOk());
  const core::Secret key = before.Mint();
  const core::KeyParts parts = *core::ParseKeyString(key.Expose());
  const Proof old = before.ProofOf(parts);
  EXPECT_EQ(old.ring_id, '1');
  EXPECT_EQ(after->ProofOf(parts).ring_id, '2');
  EXPECT_NE(after->ProofOf(parts).digest, old.digest);
  EXPECT_TRUE(after->ProofOf(parts, '1') == old);
  EXPECT_FALSE(after->ProofOf(parts, '3'));
  EXPECT_FALSE(before.ProofOf(parts, '2'));
}

TEST(KeyRing, AProofCoversKidAndSecret) {
  const KeyRing ring = KeyRing::Generate();
  const std::string kid(16, 'k'), secret(43, 's'), tag(11, 't');
  const std::string one = core::AssembleKeyString("", kid, secret, '1', tag);
  const std::string other_kid = core::AssembleKeyString("", std::string(16, 'K'), secret, '1', tag);
  const std::string other_secret = core::AssembleKeyString("", kid, std::string(43, 'S'), '1', tag);
  const std::string labelled = core::AssembleKeyString("acme", kid, secret, '1', tag);
  const auto proof_of = [&](const std::string& text) { return ring.ProofOf(*core::ParseKeyString(text)); };
  EXPECT_FALSE(proof_of(one) == proof_of(other_kid));
  EXPECT_FALSE(proof_of(one) == proof_of(other_secret));
  EXPECT_TRUE(proof_of(one) == proof_of(labelled));
}

TEST(KeyRing, AGenerationItLostIsToldFromOneItNeverHad) {
  const KeyRing before = KeyRing::Generate();
  Json json = Rotated(before, "tag");
  EntryOf(json, "tag") = {{"purpose", "tag"}, {"id", "1"}, {"state", "lost"}};
  const auto after = KeyRing::Parse(json.dump());
  ASSERT_THAT(after, IsOk());
  const core::Secret old = before.Mint();
  EXPECT_EQ(after->CheckTag(*core::ParseKeyString(old.Expose())), KeyRing::TagCheck::kLostGeneration);
  const std::string never =
      core::AssembleKeyString("", std::string(16, 'k'), std::string(43, 's'), '7', std::string(11, 't'));
  EXPECT_EQ(after->CheckTag(*core::ParseKeyString(never)), KeyRing::TagCheck::kUnknownGeneration);
  const core::Secret fresh = after->Mint();
  EXPECT_EQ(core::ParseKeyString(fresh.Expose())->gen, '2');
  EXPECT_EQ(after->CheckTag(*core::ParseKeyString(fresh.Expose())), KeyRing::TagCheck::kMinted);

  // It stays listed, and has nothing that could be checked.
  EXPECT_EQ(JsonOf(*after), json);
  EXPECT_EQ(after->CheckValues().count("tag/1"), 0u);
  EXPECT_EQ(after->CheckValues().count("tag/2"), 1u);
}

TEST(KeyRing, RefusesEntriesThatCannotBe) {
  const KeyRing ring = KeyRing::Generate();
  const auto broken = [&](const std::string& purpose, const char* field, const Json& value) {
    Json json = JsonOf(ring);
    EntryOf(json, purpose)[field] = value;
    return KeyRing::Parse(json.dump());
  };
  EXPECT_THAT(broken("proof", "id", "10"), HasCode(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(broken("proof", "id", "-"), HasCode(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(broken("tag", "id", "10"), HasCode(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(broken("pepper", "id", "2026-01"), IsOk());
  EXPECT_THAT(broken("proof", "state", "lost"), HasCode(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(broken("proof", "state", "Active"), HasCode(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(broken("tag", "state", "lost"), HasCode(absl::StatusCode::kInvalidArgument));

  Json json = Rotated(ring, "tag");
  EXPECT_THAT(KeyRing::Parse(json.dump()), IsOk());
  EntryOf(json, "tag")["state"] = "lost";
  EXPECT_THAT(KeyRing::Parse(json.dump()), HasCode(absl::StatusCode::kInvalidArgument)) << "lost, and has a secret";
  json = Rotated(ring, "pepper");
  EntryOf(json, "pepper") = {{"purpose", "pepper"}, {"id", "1"}, {"state", "lost"}};
  EXPECT_THAT(KeyRing::Parse(json.dump()), HasCode(absl::StatusCode::kInvalidArgument)) << "only tags can be lost";
}

TEST(KeyMinter, StoresTheProofOnlyIfItIsTold) {
  const KeyRingHandle ring(KeyRing::Generate());
  const FakeClock clock;
  HashPool hashes({.workers = 1, .profile = RandomKeyProfile()}, clock);
  for (const bool store_proofs : {true, false}) {
    const auto minted = KeyMinter(ring, hashes, store_proofs).Mint("", absl::InfiniteDuration());
    ASSERT_THAT(minted, IsOk());
    EXPECT_TRUE(minted->proof == KeyRingHandle::Pin(ring)->ProofOf(*core::ParseKeyString(minted->key_string.Expose())));
    EXPECT_TRUE(minted->secret.proof == (store_proofs ? minted->proof : Proof()));
  }
}

}  // namespace
}  // namespace latchkey::keys
