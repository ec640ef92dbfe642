// What a verification is made of, in one process, beside one SHA-256 of 50 bytes. README.md says how to read it.
// The low-level calls are what a floor is: the EVP ones cost more than the digest.
#define OPENSSL_SUPPRESS_DEPRECATED
#include <benchmark/benchmark.h>
#include <openssl/sha.h>

#include <array>
#include <memory>
#include <string>
#include <vector>

#include "client/core/key_format.h"
#include "server/base/clock.h"
#include "server/keys/crypto/hash_pool.h"
#include "server/keys/crypto/key_ring_handle.h"
#include "server/keys/replication/key_index.h"
#include "server/keys/verify/key_verifier.h"
#include "server/keys/verify/secret_checker.h"
#include "server/model/built_in_roles.h"
#include "tests/support/memory_store/memory_key_store.h"

namespace latchkey::bench {
namespace {

constexpr size_t kGarbage = 1024;

// An index of `count` proven keys, and all that judges them. The store and the hash pool are never reached.
class World {
 public:
  explicit World(int64_t count) {
    keys::KeyIndex::SnapshotLoader load(index);
    load.Begin({1, std::string(32, 'c')}, count);
    load.Add(keys::OrganizationRecord{.id = "acme", .display_name = "Acme"});
    for (int64_t i = 0; i < count; ++i) {
      const core::Secret minted = keys::KeyRingHandle::Pin(ring)->Mint();
      strings.emplace_back(minted.Expose());
      const core::KeyParts parts = *core::ParseKeyString(strings.back());
      const storage::SnapshotVersion version{
          .id = 1, .expires_at = keys::Never(), .proof = keys::KeyRingHandle::Pin(ring)->ProofOf(parts)};
      storage::SnapshotKey key;
      key.organization = "acme";
      key.kid = parts.kid;
      key.display_name = "bench key";
      key.role = "editor";
      key.versions = absl::MakeConstSpan(&version, 1);
      load.Add(key);
    }
    load.Publish();
    for (size_t i = 0; i < kGarbage; ++i) garbage.emplace_back(other_ring.Mint().Expose());
    index.Extend(clock.BootNow() + absl::Hours(24), absl::FromUnixSeconds(1'700'000'000), clock.BootNow());
  }

  std::vector<std::string> strings, garbage;
  keys::KeyRingHandle ring{keys::KeyRing::Generate()};
  keys::KeyRing other_ring = keys::KeyRing::Generate();
  base::SystemClock clock;
  keys::KeyIndex index;
  storage::MemoryKeyStore store{[] { return absl::FromUnixSeconds(1'700'000'000); }};
  keys::HashPool hashes{{.workers = 1, .profile = keys::RandomKeyProfile()}, clock};
  keys::SecretChecker checker{store, index, ring, hashes, clock, {}};
  keys::KeyVerifier verifier{index, ring, checker, clock};
};

World& Hot() {
  static World* const world = new World(10'000);
  return *world;
}
World& Large() {
  static World* const world = new World(200'000);
  return *world;
}

// Walks through the strings in an order that no prefetcher follows; each thread from another place.
class Walk {
 public:
  Walk(const benchmark::State& state, const std::vector<std::string>& strings)
      : strings_(strings), at_(static_cast<size_t>(state.thread_index()) * 4099) {}
  const std::string& Next() { return strings_[(at_ += 7919) % strings_.size()]; }

 private:
  const std::vector<std::string>& strings_;
  size_t at_;
};

void Sha256Floor(benchmark::State& state) {
  const std::string text(50, 'x');
  std::array<unsigned char, SHA256_DIGEST_LENGTH> digest;
  for (auto _ : state) {
    SHA256_CTX context;
    SHA256_Init(&context);
    SHA256_Update(&context, text.data(), text.size());
    SHA256_Final(digest.data(), &context);
    benchmark::DoNotOptimize(digest);
  }
}
BENCHMARK(Sha256Floor)->Name("floor: SHA-256 of 50 B, low level")->ThreadRange(1, 2)->UseRealTime();

void BootClockFloor(benchmark::State& state) {
  const base::SystemClock clock;
  for (auto _ : state) benchmark::DoNotOptimize(clock.BootNow());
}
BENCHMARK(BootClockFloor)->Name("floor: CLOCK_BOOTTIME");

void Parse(benchmark::State& state) {
  Walk walk(state, Hot().strings);
  for (auto _ : state) benchmark::DoNotOptimize(core::ParseKeyString(walk.Next()));
}
BENCHMARK(Parse)->Name("parse and CRC");

void CheckTag(benchmark::State& state) {
  const core::KeyParts parts = *core::ParseKeyString(Hot().strings.front());
  for (auto _ : state) benchmark::DoNotOptimize(keys::KeyRingHandle::Pin(Hot().ring)->CheckTag(parts));
}
BENCHMARK(CheckTag)->Name("tag check")->ThreadRange(1, 2)->UseRealTime();

void Proof(benchmark::State& state) {
  const core::KeyParts parts = *core::ParseKeyString(Hot().strings.front());
  for (auto _ : state) benchmark::DoNotOptimize(keys::KeyRingHandle::Pin(Hot().ring)->ProofOf(parts));
}
BENCHMARK(Proof)->Name("proof of a key string")->ThreadRange(1, 2)->UseRealTime();

void LookUp(benchmark::State& state, World& (*world)()) {
  World& of = world();
  Walk walk(state, of.strings);
  for (auto _ : state) {
    const std::string_view kid = std::string_view(walk.Next()).substr(core::kMarker.size(), core::kKeyIdLength);
    const keys::KeyIndex::Pin pin(of.index);
    const keys::IndexedKey* const key = pin.FindKey(kid);
    if (key == nullptr) {
      state.SkipWithError("a key is missing");
      break;
    }
    benchmark::DoNotOptimize(key->version(0));
    benchmark::DoNotOptimize(pin.OrganizationOf(*key));
    benchmark::DoNotOptimize(pin.RoleOf(*key));
  }
  if (state.thread_index() == 0) {
    state.counters["bytes_a_key"] =
        static_cast<double>(of.index.memory_bytes()) / static_cast<double>(of.index.key_count());
  }
}
BENCHMARK_CAPTURE(LookUp, hot, Hot)
    ->Name("index: pin, key, proof, organization and role, 10 k keys")
    ->ThreadRange(1, 2)
    ->UseRealTime();
BENCHMARK_CAPTURE(LookUp, large, Large)->Name("index: pin, key, proof, organization and role, 200 k keys");

void Verify(benchmark::State& state, World& (*world)(), bool garbage) {
  World& of = world();
  Walk walk(state, garbage ? of.garbage : of.strings);
  const core::Decision wanted = garbage ? core::Decision::kNotFound : core::Decision::kAllowed;
  for (auto _ : state) {
    const auto verdict = of.verifier.VerifyFromMemory({.key = walk.Next(), .asker_organization = "system"});
    if (!verdict.has_value() || !verdict->ok() || (*verdict)->decision != wanted) {
      state.SkipWithError("another answer than expected");
      break;
    }
  }
}
BENCHMARK_CAPTURE(Verify, hot, Hot, false)
    ->Name("VerifyFromMemory, proven, 10 k keys")
    ->ThreadRange(1, 2)
    ->UseRealTime();
BENCHMARK_CAPTURE(Verify, large, Large, false)->Name("VerifyFromMemory, proven, 200 k keys");
BENCHMARK_CAPTURE(Verify, garbage, Hot, true)->Name("VerifyFromMemory, garbage")->ThreadRange(1, 2)->UseRealTime();

}  // namespace
}  // namespace latchkey::bench
