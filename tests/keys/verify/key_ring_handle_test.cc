// Key rings that are swapped under a verifier at work.
#include "server/keys/crypto/key_ring_handle.h"

#include <gtest/gtest.h>

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "nlohmann/json.hpp"
#include "tests/support/memory_service.h"

namespace latchkey::keys {
namespace {

using ::latchkey::testing::MemoryService;
using Json = nlohmann::ordered_json;

bool IsRotated(const Json& entry) { return entry["purpose"] == "proof" || entry["purpose"] == "pepper"; }

KeyRing CopyOf(const KeyRing& ring) { return *KeyRing::Parse(std::string(ring.Serialise().Expose())); }

// `ring` after a rotation of what makes proofs and of the pepper: each has a retired secret, and an active one with the
// id "2".
KeyRing Rotated(const KeyRing& ring) {
  Json json = Json::parse(ring.Serialise().Expose());
  Json other = Json::parse(KeyRing::Generate().Serialise().Expose());
  for (Json& entry : json["secrets"]) {
    if (IsRotated(entry)) entry["state"] = "retired";
  }
  for (Json& entry : other["secrets"]) {
    if (!IsRotated(entry)) continue;
    entry["id"] = "2";
    json["secrets"].push_back(entry);
  }
  const auto rotated = KeyRing::Parse(json.dump());
  EXPECT_TRUE(rotated.ok()) << rotated.status();
  return CopyOf(*rotated);
}

// The same secrets, the others of them active.
KeyRing TurnedBack(const KeyRing& rotated) {
  Json json = Json::parse(rotated.Serialise().Expose());
  for (Json& entry : json["secrets"]) {
    if (IsRotated(entry)) entry["state"] = entry["id"] == "2" ? "retired" : "active";
  }
  return *KeyRing::Parse(json.dump());
}

TEST(KeyRingHandle, EachPinShowsTheRingThatWasPublishedLast) {
  KeyRingHandle handle(KeyRing::Generate());
  const KeyRing before = CopyOf(*KeyRingHandle::Pin(handle));
  EXPECT_EQ(KeyRingHandle::Pin(handle)->active_pepper_id(), "1");
  {
    const KeyRingHandle::Pin old(handle);
    handle.Publish(Rotated(before));
    EXPECT_EQ(old->active_pepper_id(), "1") << "what is pinned stays";
  }
  EXPECT_EQ(KeyRingHandle::Pin(handle)->active_pepper_id(), "2");
}

TEST(KeyRingHandle, EveryVerdictIsRightWhileRingsAreSwapped) {
  MemoryService service;
  const KeyRing second = Rotated(*service.TheRing());
  const KeyRing first = TurnedBack(second);
  service.ring.Publish(CopyOf(first));
  std::vector<std::string> good;
  for (int i = 0; i < 4; ++i) {
    good.emplace_back(service.MustCreate(service.acme_owner, "acme", "viewer").key_string.Expose());
  }
  const std::string forged(KeyRing::Generate().Mint().Expose());

  std::atomic<bool> done = false;
  std::thread rotation([&] {
    while (!done) {
      service.ring.Publish(CopyOf(second));
      service.ring.Publish(CopyOf(first));
    }
  });
  std::vector<std::thread> callers;
  for (size_t t = 0; t < 3; ++t) {
    callers.emplace_back([&, t] {
      for (size_t i = 0; i < 200; ++i) {
        EXPECT_EQ(service.MustVerify(good[(i + t) % good.size()]), core::Decision::kAllowed);
        EXPECT_EQ(service.MustVerify(forged), core::Decision::kNotFound);
      }
    });
  }
  std::thread issuer([&] {
    for (int i = 0; i < 20; ++i) {
      const auto issued = service.MustCreate(service.acme_owner, "acme", "viewer");
      EXPECT_EQ(service.MustVerify(issued.key_string.Expose()), core::Decision::kAllowed);
    }
  });
  for (std::thread& caller : callers) caller.join();
  issuer.join();
  done = true;
  rotation.join();
}

}  // namespace
}  // namespace latchkey::keys
