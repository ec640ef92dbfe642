// A hit as a service sees it (latchkey::Verifier::Verify with its default options), and of it the cache alone, beside
// what it cannot do without: a digest, a look-up and a clock. README.md says how to read it. Counts every allocation of
// the thread.
#include <benchmark/benchmark.h>

#include <bit>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>
#include <random>
#include <string>
#include <vector>

#include "absl/synchronization/blocking_counter.h"
#include "absl/time/clock.h"
#include "client/core/clock.h"
#include "client/core/key_format.h"
#include "client/core/siphash.h"
#include "client/src/cache/lease_cache.h"
#include "latchkey/testing/test_server.h"
#include "latchkey/verifier.h"

namespace {
thread_local int64_t thread_allocations = 0;
}  // namespace

[[gnu::noinline]] void* operator new(size_t size) {
  ++thread_allocations;
  if (void* memory = std::malloc(size)) return memory;
  throw std::bad_alloc();
}
[[gnu::noinline]] void* operator new(size_t size, std::align_val_t alignment) {
  ++thread_allocations;
  const auto align = static_cast<size_t>(alignment);
  if (void* memory = std::aligned_alloc(align, (size + align - 1) / align * align)) return memory;
  throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, size_t) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, size_t, std::align_val_t) noexcept { std::free(memory); }

namespace latchkey::client {
namespace {

std::string KeyString(std::mt19937_64& random) {
  const auto digits = [&random](int count) {
    std::string text;
    for (int i = 0; i < count; ++i)
      text.push_back("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"[random() % 62]);
    return text;
  };
  return core::AssembleKeyString("", digits(core::kKeyIdLength), digits(core::kSecretLength), '0',
                                 digits(core::kTagLength));
}

// The least that can answer: open addressing, immutable, the entry as long as a line.
class PlainTable {
 public:
  struct alignas(64) Entry {
    core::Digest128 digest;
    int64_t until = 0;
    int64_t verdict = 0;
  };
  explicit PlainTable(const std::vector<core::Digest128>& digests)
      : entries_(digests.size()), slots_(std::bit_ceil(digests.size() * 4 / 3 + 1)) {
    for (size_t i = 0; i < digests.size(); ++i) {
      entries_[i] = {.digest = digests[i], .until = INT64_MAX, .verdict = 1};
      size_t at = digests[i].low & (slots_.size() - 1);
      while (slots_[at] != nullptr) at = (at + 1) & (slots_.size() - 1);
      slots_[at] = &entries_[i];
    }
  }
  const Entry* Find(const core::Digest128& digest) const {
    for (size_t at = digest.low & (slots_.size() - 1);; at = (at + 1) & (slots_.size() - 1)) {
      const Entry* entry = slots_[at];
      if (entry == nullptr || entry->digest == digest) return entry;
    }
  }

 private:
  std::vector<Entry> entries_;
  std::vector<const Entry*> slots_;
};

// `count` verified keys in the cache and in the table beside it. The lease is renewed by whoever asks for the world.
class World {
 public:
  explicit World(size_t count) : cache({.capacity = count}, clock) {
    std::mt19937_64 random(count);
    const uint64_t stream = cache.BeginStream();
    cache.Hello(stream, {.revision = 1}, false, absl::Seconds(5));
    // Each entry lasts as long as this process: past the window after Hello they would have to be learnt again.
    std::vector<core::Digest128> digests;
    for (size_t i = 0; i < count; ++i) {
      strings.push_back(KeyString(random));
      digests.push_back(digest.Of(strings.back()));
    }
    table = std::make_unique<PlainTable>(digests);
    size_t learnt = 0;
    for (const std::string& text : strings) {
      LeaseCache::PendingRequest request = cache.BeginRequest(text);
      request.asked_at = request.asked_at + absl::Seconds(30);  // After the window.
      LeaseCache::ServerAnswer answer;
      answer.decision = core::Decision::kAllowed;
      answer.identity = Identity({.organization = "acme",
                                  .key_id = text.substr(4, 16),
                                  .display_name = "Nightly sync",
                                  .role = "editor",
                                  .permissions = {"app.read", "app.write"},
                                  .owner = "web team"});
      answer.revision = 1;
      answer.lease_remaining = absl::Seconds(60);
      learnt += cache.Insert(request, answer, {}).has_value() ? 1 : 0;
    }
    if (learnt != count || cache.size() != count) std::abort();
    Renew();
  }
  // For as long as a benchmark runs.
  void Renew() {
    // The stream of the constructor is the first.
    cache.Pong(1, clock.BootNow() + absl::Hours(24), {.revision = 1}, absl::Seconds(5));
  }

  core::SystemClock clock;
  core::SipHash digest = core::SipHash::Random();
  std::vector<std::string> strings;
  std::unique_ptr<PlainTable> table;
  LeaseCache cache;
};

// A Verifier that has asked a server in this process about `count` keys, and holds a lease. What it does beside
// answering goes on: a ping a second, a report of uses each 10 s.
class Service {
 public:
  explicit Service(int count) {
    VerifierOptions options = server_.Options();
    options.timeout = absl::Seconds(30);
    verifier_ = *Verifier::Connect(options);
    for (int i = 0; i < count; ++i) strings_.push_back(server_.AddKey({.role = "editor", .owner = "web team"}));
    // What is learnt within L of the stream's beginning ends with its own answer's lease.
    while (verifier_->Stats().lease_remaining <= absl::ZeroDuration()) absl::SleepFor(absl::Milliseconds(1));
    absl::SleepFor(1.01 * verifier_->Stats().max_staleness);
    absl::BlockingCounter answered(count);
    for (const std::string& text : strings_) {
      verifier_->VerifyAsync(text, {}, [&answered](const Answer& answer) {
        if (!answer.allowed()) std::abort();
        answered.DecrementCount();
      });
    }
    answered.Wait();
  }
  Verifier& verifier() { return *verifier_; }
  const std::vector<std::string>& strings() const { return strings_; }

 private:
  testing::TestServer server_;
  std::unique_ptr<Verifier> verifier_;
  std::vector<std::string> strings_;
};

Service& HotService() {
  static Service* const service = new Service(10'000);
  return *service;
}
Service& OneKeyService() {
  static Service* const service = new Service(1);
  return *service;
}

World& One() {
  static World* const world = new World(1);
  return *world;
}
World& Hot() {
  static World* const world = new World(10'000);
  return *world;
}
World& Large() {
  static World* const world = new World(1'000'000);
  return *world;
}

// Walks through the strings in an order that no prefetcher follows; each thread from another place.
class Walk {
 public:
  Walk(const benchmark::State& state, const std::vector<std::string>& strings)
      : strings_(strings), random_(static_cast<uint64_t>(state.thread_index()) * 7919 + 1) {}
  const std::string& Next() {
    random_ = random_ * 6364136223846793005u + 1442695040888963407u;
    return strings_[static_cast<size_t>((static_cast<unsigned __int128>(random_) * strings_.size()) >> 64)];
  }

 private:
  const std::vector<std::string>& strings_;
  uint64_t random_;
};

void Floor(benchmark::State& state, World& (*world)()) {
  World& of = world();
  Walk walk(state, of.strings);
  for (auto _ : state) {
    const PlainTable::Entry* entry = of.table->Find(of.digest.Of(walk.Next()));
    if (entry == nullptr || of.clock.BootNow().nanoseconds() >= entry->until) {
      state.SkipWithError("not found");
      break;
    }
    benchmark::DoNotOptimize(entry->verdict);
  }
}

void Hit(benchmark::State& state, World& (*world)(), const VerifyParams& params) {
  World& of = world();
  Walk walk(state, of.strings);
  benchmark::DoNotOptimize(of.cache.Find(of.strings.front(), params));  // The thread's first: it takes its places.
  const int64_t before = thread_allocations;
  for (auto _ : state) {
    std::optional<LeaseCache::Hit> hit = of.cache.Find(walk.Next(), params);
    if (!hit.has_value() || hit->decision != core::Decision::kAllowed) {
      state.SkipWithError("no hit");
      break;
    }
    const Answer answer = Answer::Decided(static_cast<Decision>(hit->decision), std::move(hit->identity));
    benchmark::DoNotOptimize(answer.allowed());
  }
  state.counters["allocations"] = benchmark::Counter(static_cast<double>(thread_allocations - before));
  if (state.thread_index() == 0) {
    state.counters["bytes_per_entry"] =
        static_cast<double>(of.cache.memory_bytes()) / static_cast<double>(of.cache.size());
  }
}

void Verify(benchmark::State& state, Service& (*service)(), const VerifyParams& params) {
  Verifier& verifier = service().verifier();
  Walk walk(state, service().strings());
  // The thread's first: it takes its places.
  benchmark::DoNotOptimize(verifier.Verify(service().strings().front(), params));
  const int64_t misses = verifier.Stats().misses;
  const int64_t before = thread_allocations;
  for (auto _ : state) {
    const Answer answer = verifier.Verify(walk.Next(), params);
    if (!answer.allowed()) {
      state.SkipWithError("not allowed");
      break;
    }
    benchmark::DoNotOptimize(answer.identity().empty());
  }
  state.counters["allocations"] = benchmark::Counter(static_cast<double>(thread_allocations - before));
  if (verifier.Stats().misses != misses) state.SkipWithError("a server had to be asked: the lease was lost");
}

const VerifyParams& OnePermission() {
  static const VerifyParams& params = *new VerifyParams{.required_permissions = {"app.read"}};
  return params;
}
const VerifyParams& Nothing() {
  static const VerifyParams& params = *new VerifyParams;
  return params;
}

void Clock(benchmark::State& state) {
  const core::SystemClock clock;
  for (auto _ : state) benchmark::DoNotOptimize(clock.BootNow());
}

BENCHMARK(Clock)->Name("floor: CLOCK_BOOTTIME");
BENCHMARK_CAPTURE(Floor, one, One)->Name("floor: digest, look-up, clock, one key")->ThreadRange(1, 2)->UseRealTime();
BENCHMARK_CAPTURE(Verify, one, OneKeyService, Nothing())->Name("Verify, one key")->ThreadRange(1, 2)->UseRealTime();
BENCHMARK_CAPTURE(Hit, one, One, Nothing())->Name("cache hit, one key")->ThreadRange(1, 2)->UseRealTime();
BENCHMARK_CAPTURE(Floor, hot, Hot)->Name("floor: digest, look-up, clock, 10 k keys")->ThreadRange(1, 2)->UseRealTime();
BENCHMARK_CAPTURE(Verify, hot, HotService, Nothing())->Name("Verify, 10 k keys")->ThreadRange(1, 2)->UseRealTime();
BENCHMARK_CAPTURE(Verify, hot_permission, HotService, OnePermission())
    ->Name("Verify with one permission, 10 k keys")
    ->ThreadRange(1, 2)
    ->UseRealTime();
BENCHMARK_CAPTURE(Hit, hot, Hot, Nothing())->Name("cache hit, 10 k keys")->ThreadRange(1, 2)->UseRealTime();
BENCHMARK_CAPTURE(Floor, large, Large)
    ->Name("floor: digest, look-up, clock, 1 M keys")
    ->ThreadRange(1, 2)
    ->UseRealTime();
BENCHMARK_CAPTURE(Hit, large, Large, Nothing())->Name("cache hit, 1 M keys")->ThreadRange(1, 2)->UseRealTime();

}  // namespace
}  // namespace latchkey::client

BENCHMARK_MAIN();
