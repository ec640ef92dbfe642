#include "server/keys/verify/usage_counter.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <iterator>
#include <mutex>
#include <tuple>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "client/core/key_format.h"
#include "client/core/saturating_sum.h"
#include "server/base/errors.h"
#include "server/base/log.h"

namespace latchkey::keys {
namespace {

constexpr int64_t kNoUse = -1;
constexpr int64_t kSecondsInAnHour = 3600;
// One reporter may hold a quarter of the rows that wait.
constexpr size_t kReportersInTheQueue = 4;
// Enough to find two rows among five thousand, in one flush.
constexpr int kTriesInHalves = 64;

int64_t RoundedDown(int64_t seconds, int64_t unit) {
  const int64_t rest = seconds % unit;
  return seconds - (rest < 0 ? rest + unit : rest);
}

struct UseKey {
  std::array<char, core::kKeyIdLength> kid;
  int32_t version;
  int32_t decision;
  int64_t hour;  // Its beginning, in Unix seconds.

  friend bool operator==(const UseKey&, const UseKey&) = default;
  template <typename H>
  friend H AbslHashValue(H h, const UseKey& key) {
    std::array<uint64_t, 2> kid;
    static_assert(sizeof(kid) == sizeof(key.kid));
    std::memcpy(kid.data(), key.kid.data(), sizeof(kid));
    return H::combine(std::move(h), kid[0], kid[1], key.version, key.decision, key.hour);
  }
};

struct UseValue {
  int64_t count = 0;
  int64_t last_used = kNoUse;  // In Unix seconds.
};

// On a cache line of its own, so that keys that are counted at once do not slow each other down.
struct alignas(64) Shard {
  std::mutex mutex;
  absl::flat_hash_map<UseKey, UseValue> uses;
};

struct WaitingReport {
  storage::UseReport report;
  std::function<void(absl::Status)> done;
};

// What one transaction writes.
struct Batch {
  std::vector<storage::Use> uses;
  std::vector<storage::UseReport> reports;
  std::vector<std::function<void(absl::Status)>> done;  // Who waits for them, one each.
  size_t rows = 0;

  void Tell(const absl::Status& status) const {
    for (const auto& one : done) one(status);
  }
};

template <typename T>
std::vector<T> TakeSecondHalf(std::vector<T>& all) {
  const auto middle = all.begin() + static_cast<std::ptrdiff_t>(all.size() / 2);
  std::vector<T> half(std::make_move_iterator(middle), std::make_move_iterator(all.end()));
  all.erase(middle, all.end());
  return half;
}

storage::Use UseOf(const UseKey& key, const UseValue& value) {
  return {.kid = std::string(key.kid.data(), key.kid.size()),
          .version = key.version,
          .decision = key.decision,
          .hour = absl::FromUnixSeconds(key.hour),
          .count = value.count,
          .last_used_at = value.last_used == kNoUse ? absl::InfinitePast() : absl::FromUnixSeconds(value.last_used)};
}

}  // namespace

struct UsageCounter::State {
  void Add(const UseKey& key, int64_t count, int64_t last_used);
  std::vector<Batch> TakeAll();
  void PutBack(const std::vector<storage::Use>& uses);
  absl::Status Write(Batch batch, int& tries);

  storage::KeyStore& store;
  const Options options;
  std::array<Shard, 64> shards{};
  std::atomic<size_t> distinct{0};
  std::atomic<int64_t> dropped{0};

  std::mutex flushing;
  mutable std::mutex reports_mutex{};
  std::vector<WaitingReport> reports{};
  size_t report_rows = 0;                                     // Of those.
  absl::flat_hash_map<std::string, size_t> report_rows_of{};  // The same by reporter; none is 0.
};

UsageCounter::UsageCounter(storage::KeyStore& store, Options options) : state_(new State{store, options}) {}

UsageCounter::~UsageCounter() {
  for (const WaitingReport& waiting : state_->reports) waiting.done(errors::ShuttingDown());
}

void UsageCounter::Count(std::string_view kid, int32_t version, core::Decision decision, absl::Time at) {
  UseKey key{{}, version, static_cast<int32_t>(decision), 0};
  if (kid.size() != key.kid.size()) return;
  kid.copy(key.kid.data(), key.kid.size());
  const int64_t now = absl::ToUnixSeconds(at);
  key.hour = RoundedDown(now, kSecondsInAnHour);
  state_->Add(key, 1, decision == core::Decision::kAllowed ? RoundedDown(now, 60) : kNoUse);
}

void UsageCounter::State::Add(const UseKey& key, int64_t count, int64_t last_used) {
  // A kid is random: its last characters spread as well as a hash, and cost less.
  const size_t at = static_cast<unsigned char>(key.kid[14]) * 31U + static_cast<unsigned char>(key.kid[15]);
  Shard& shard = shards[at % shards.size()];
  const std::lock_guard<std::mutex> lock(shard.mutex);
  auto found = shard.uses.find(key);
  if (found == shard.uses.end()) {
    if (distinct.load(std::memory_order_relaxed) >= options.capacity) {
      dropped.fetch_add(count, std::memory_order_relaxed);
      return;
    }
    distinct.fetch_add(1, std::memory_order_relaxed);
    found = shard.uses.try_emplace(key).first;
  }
  found->second.count = core::SaturatingSum(found->second.count, count);
  found->second.last_used = std::max(found->second.last_used, last_used);
}

void UsageCounter::Report(storage::UseReport report, std::function<void(absl::Status)> done) {
  {
    const std::lock_guard<std::mutex> lock(state_->reports_mutex);
    const size_t more = std::max<size_t>(1, report.uses.size());
    const size_t rows = state_->report_rows + more;
    size_t& own = state_->report_rows_of[report.reporter];
    if (state_->reports.size() < state_->options.waiting_reports && rows <= state_->options.waiting_rows &&
        own + more <= std::max(more, state_->options.waiting_rows / kReportersInTheQueue)) {
      state_->report_rows = rows;
      own += more;
      state_->reports.push_back({std::move(report), std::move(done)});
      return;
    }
    if (own == 0) state_->report_rows_of.erase(report.reporter);
  }
  done(errors::WorkersBusy(absl::Seconds(1)));
}

// Everything that waits, cut into batches. Reports first: somebody waits for them.
std::vector<Batch> UsageCounter::State::TakeAll() {
  std::vector<WaitingReport> taken;
  {
    const std::lock_guard<std::mutex> lock(reports_mutex);
    taken.swap(reports);
    report_rows = 0;
    report_rows_of.clear();
  }
  std::vector<storage::Use> uses;
  for (Shard& shard : shards) {
    absl::flat_hash_map<UseKey, UseValue> map;
    {
      const std::lock_guard<std::mutex> lock(shard.mutex);
      map.swap(shard.uses);
      // The keys of now are those of the next interval: room made here is not made while a caller waits.
      shard.uses.reserve(map.size());
    }
    distinct.fetch_sub(map.size(), std::memory_order_relaxed);
    for (const auto& [key, value] : map) uses.push_back(UseOf(key, value));
  }
  // One order for all servers, so that their batches meet without deadlocks.
  std::sort(uses.begin(), uses.end(), [](const storage::Use& a, const storage::Use& b) {
    return std::tie(a.kid, a.version, a.decision, a.hour) < std::tie(b.kid, b.version, b.decision, b.hour);
  });

  std::vector<Batch> batches;
  const auto batch_for = [&](size_t rows) -> Batch& {
    if (batches.empty() || (batches.back().rows > 0 && batches.back().rows + rows > options.batch)) {
      batches.emplace_back();
    }
    batches.back().rows += rows;
    return batches.back();
  };
  for (WaitingReport& waiting : taken) {
    Batch& batch = batch_for(std::max<size_t>(1, waiting.report.uses.size()));
    batch.reports.push_back(std::move(waiting.report));
    batch.done.push_back(std::move(waiting.done));
  }
  for (storage::Use& use : uses) batch_for(1).uses.push_back(std::move(use));
  return batches;
}

void UsageCounter::State::PutBack(const std::vector<storage::Use>& uses) {
  for (const storage::Use& use : uses) {
    UseKey key{{}, use.version, use.decision, absl::ToUnixSeconds(use.hour)};
    use.kid.copy(key.kid.data(), key.kid.size());
    Add(key, use.count, use.last_used_at == absl::InfinitePast() ? kNoUse : absl::ToUnixSeconds(use.last_used_at));
  }
}

// Writes `batch` and tells those who wait for it. Where something in it can't be written, the two halves are tried, and
// so on, so that it takes nothing else along: `tries` times more at most, because an error may be about everything.
absl::Status UsageCounter::State::Write(Batch batch, int& tries) {
  const absl::Status written = store.AddUses(batch.uses, batch.reports);
  const size_t parts = batch.uses.size() + batch.reports.size();
  if (written.ok() || !absl::IsInternal(written) || (parts > 1 && tries < 2)) {
    if (!written.ok()) PutBack(batch.uses);
    batch.Tell(written);
    return written;
  }
  if (parts > 1) {
    tries -= 2;
    Batch second;
    // Reports apart from uses, then each kind in halves.
    if (!batch.uses.empty() && !batch.reports.empty()) {
      second.uses = std::exchange(batch.uses, {});
    } else if (batch.uses.empty()) {
      second.reports = TakeSecondHalf(batch.reports);
      second.done = TakeSecondHalf(batch.done);
    } else {
      second.uses = TakeSecondHalf(batch.uses);
    }
    absl::Status both = Write(std::move(batch), tries);
    both.Update(Write(std::move(second), tries));
    return both;
  }
  for (const storage::Use& use : batch.uses) {
    log::Error("a use can't be written and is dropped",
               {{"key_id", use.kid}, {"count", use.count}, {"error", std::string(written.message())}});
    dropped.fetch_add(use.count, std::memory_order_relaxed);
  }
  for (const storage::UseReport& report : batch.reports) {
    log::Error("a report of uses can't be written",
               {{"reporter", report.reporter}, {"error", std::string(written.message())}});
  }
  batch.Tell(written);
  return written;
}

absl::Status UsageCounter::Flush() {
  const std::lock_guard<std::mutex> lock(state_->flushing);
  absl::Status first_failure;
  absl::Status away;
  int tries = kTriesInHalves;
  for (Batch& batch : state_->TakeAll()) {
    // While the database is away each further batch would only wait for the same error.
    if (!away.ok()) {
      state_->PutBack(batch.uses);
      batch.Tell(away);
      continue;
    }
    const absl::Status written = state_->Write(std::move(batch), tries);
    if (absl::IsUnavailable(written)) away = written;
    first_failure.Update(written);
  }
  return first_failure;
}

bool UsageCounter::reports_waiting() const {
  const std::lock_guard<std::mutex> lock(state_->reports_mutex);
  return !state_->reports.empty();
}

int64_t UsageCounter::dropped() const { return state_->dropped; }

}  // namespace latchkey::keys
