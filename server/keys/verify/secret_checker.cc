#include "server/keys/verify/secret_checker.h"

#include <algorithm>
#include <atomic>
#include <deque>
#include <limits>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "client/core/secret.h"
#include "server/base/errors.h"
#include "server/base/executor.h"
#include "server/base/rate_limiter.h"
#include "server/keys/verify/negative_cache.h"

namespace latchkey::keys {
namespace {

constexpr size_t kProofsInOneWrite = 1'000;
constexpr size_t kBuckets = 16'384;

base::BootTime After(base::BootTime now, absl::Duration time) {
  // Far enough to be never, near enough not to overflow.
  return now + std::min(time, absl::Hours(24 * 365));
}

bool Same(const Proof& a, const Proof& b) {
  return a.ring_id == b.ring_id &&
         core::ConstantTimeEqual({a.digest.data(), a.digest.size()}, {b.digest.data(), b.digest.size()});
}

struct Waiter {
  HashPool::Priority priority;
  base::BootTime deadline;
  std::string peer;
  std::function<void(absl::Status)> done;
};

// One proof under way and all who wait for it.
struct PendingCheck {
  Proof name;
  std::string kid;
  core::Secret secret;
  std::optional<HashPool::Ticket> ticket;
  std::vector<Waiter> waiters;  // Under State::mutex.
};

}  // namespace

struct SecretChecker::State {
  State(storage::KeyStore& its_store, KeyIndex& its_index, const KeyRingHandle& its_ring, HashPool& its_hashes,
        const base::Clock& its_clock, const Options& its_options);

  // What became of a waiter: it has its answer, or it waits; then for a check that is under way, or for a new one,
  // which has to be run.
  struct Begun {
    std::optional<absl::Status> answer;
    std::shared_ptr<PendingCheck> created;
  };
  Begun JoinOrCreate(const core::KeyParts& parts, const Proof& name, Waiter& waiter, absl::Duration time_left,
                     const std::string& share);
  void Run(PendingCheck& pending);
  // Whether the string is that of a version of its key.
  absl::StatusOr<bool> Check(PendingCheck& pending);
  absl::StatusOr<bool> Hash(PendingCheck& pending, std::vector<StoredSecret> secrets, int64_t view);
  // `view`: the index's generation when the evidence was collected.
  void Store(const KeyProof& proof, bool write, int64_t view);
  void End(PendingCheck& pending, const absl::StatusOr<bool>& right);

  storage::KeyStore& store;
  KeyIndex& index;
  const KeyRingHandle& ring;
  HashPool& hashes;
  const base::Clock& clock;
  const Options options;

  NegativeCache known_invalid;
  base::RateLimiter kid_failures;
  base::RateLimiter peer_failures;

  std::mutex mutex;
  bool stopping = false;
  std::unordered_map<Proof, std::shared_ptr<PendingCheck>, ProofHash> pending_checks;  // By name.

  std::mutex writing;  // One flush at a time; before `waiting_mutex`.
  std::mutex waiting_mutex;
  struct Waiting {
    KeyProof proof;
    int64_t view;
  };
  std::deque<Waiting> waiting;

  std::atomic<int64_t> begun{0}, joined{0}, by_database{0}, by_hash{0}, wrong{0};

  // Each priority's checks wait for hashes on workers of their own, else a flood of the background's would hold them
  // all. Last: destroyed first.
  base::Executor executor;
};

SecretChecker::State::State(storage::KeyStore& its_store, KeyIndex& its_index, const KeyRingHandle& its_ring,
                            HashPool& its_hashes, const base::Clock& its_clock, const Options& its_options)
    : store(its_store),
      index(its_index),
      ring(its_ring),
      hashes(its_hashes),
      clock(its_clock),
      options(its_options),
      known_invalid(options.negatives, options.negative_ttl),
      kid_failures(options.failures_per_second, options.failure_burst, kBuckets),
      peer_failures(options.failures_per_second, options.failure_burst, kBuckets),
      executor(
          {{.reserved = std::max(1, options.workers), .limit = std::max(1, options.workers), .queue = options.queue},
           {.reserved = 1, .limit = 1, .queue = options.queue}},
          /*shared=*/0) {}

SecretChecker::SecretChecker(storage::KeyStore& store, KeyIndex& index, const KeyRingHandle& ring, HashPool& hashes,
                             const base::Clock& clock, Options options)
    : hashes_(hashes), state_(std::make_unique<State>(store, index, ring, hashes, clock, options)) {}

SecretChecker::~SecretChecker() {
  {
    const std::lock_guard<std::mutex> lock(state_->mutex);
    state_->stopping = true;
  }
  state_->executor.Stop();
}

bool SecretChecker::IsKnownInvalid(const Proof& name) const {
  return state_->known_invalid.Contains(name, state_->clock.BootNow());
}

void SecretChecker::Prove(const core::KeyParts& parts, HashPool::Priority priority, absl::Duration time_left,
                          const Asker& asker, std::function<void(absl::Status)> done) {
  const base::BootTime now = state_->clock.BootNow();
  const Proof name = KeyRingHandle::Pin(state_->ring)->ProofOf(parts);
  if (state_->known_invalid.Contains(name, now)) return done(absl::OkStatus());
  if (time_left <= absl::ZeroDuration()) return done(errors::DeadlineExceeded());
  if (priority == HashPool::Priority::kBackground) {
    const absl::Duration wait =
        std::max(state_->kid_failures.Wait(parts.kid, now), state_->peer_failures.Wait(asker.address, now));
    if (wait > absl::ZeroDuration()) return done(errors::TooManyFailures(wait));
  }
  Waiter waiter{priority, After(now, time_left), asker.address, std::move(done)};
  const State::Begun begun = state_->JoinOrCreate(parts, name, waiter, time_left, asker.share);
  if (begun.answer.has_value()) return waiter.done(*begun.answer);
  if (begun.created == nullptr) return;
  // Without the lock: a check that has no place ends here and now, or ends another one that made room for it.
  const size_t lane = priority == HashPool::Priority::kInteractive ? 0 : 1;
  state_->executor.queue(lane).Run(asker.share,
                                   [state = state_.get(), pending = begun.created](const absl::Status& turn) {
                                     if (turn.ok()) {
                                       state->Run(*pending);
                                     } else {
                                       state->End(*pending, turn);
                                     }
                                   });
}

// Moves from the waiter unless it has its answer.
SecretChecker::State::Begun SecretChecker::State::JoinOrCreate(const core::KeyParts& parts, const Proof& name,
                                                               Waiter& waiter, absl::Duration time_left,
                                                               const std::string& share) {
  const std::lock_guard<std::mutex> lock(mutex);
  if (stopping) return {.answer = errors::ShuttingDown()};
  if (const auto found = pending_checks.find(name); found != pending_checks.end()) {
    found->second->waiters.push_back(std::move(waiter));
    ++joined;
    return {};
  }
  // Found out since it was looked for.
  if (known_invalid.Contains(name, clock.BootNow())) return {.answer = absl::OkStatus()};
  // Now, not when its turn comes: an overload is refused before it costs a SELECT.
  absl::StatusOr<HashPool::Ticket> ticket = hashes.Admit(std::min(options.patience, time_left), waiter.priority, share);
  if (!ticket.ok()) return {.answer = ticket.status()};
  auto pending = std::make_shared<PendingCheck>();
  pending->name = name;
  pending->kid = std::string(parts.kid);
  pending->secret = core::Secret(std::string(parts.secret));
  pending->ticket.emplace(*std::move(ticket));
  pending->waiters.push_back(std::move(waiter));  // End takes them under the mutex.
  pending_checks.emplace(name, pending);
  ++begun;
  return {.created = std::move(pending)};
}

void SecretChecker::State::Run(PendingCheck& pending) {
  bool stop = false;
  bool too_late = true;
  {
    const std::lock_guard<std::mutex> lock(mutex);
    const base::BootTime now = clock.BootNow();
    stop = stopping;
    for (const Waiter& waiter : pending.waiters) too_late &= waiter.deadline <= now;
  }
  if (stop) return End(pending, errors::ShuttingDown());
  // Nobody waits for it any more: under overload the work that is left undone is what helps.
  if (too_late) return End(pending, errors::DeadlineExceeded());
  End(pending, Check(pending));
}

absl::StatusOr<bool> SecretChecker::State::Check(PendingCheck& pending) {
  core::KeyParts parts;
  parts.kid = pending.kid;
  parts.secret = pending.secret.Expose();
  std::vector<int32_t> wrong_versions;
  int64_t view = 0;
  {
    // What this server knows by now. An earlier pending for the same string may have ended between its waiter's look at
    // memory and its Prove; and without shared proofs only memory can exclude a version.
    const KeyIndex::Pin pin(index);
    const KeyRingHandle::Pin present(ring);
    view = pin.snapshot().view_id;
    const IndexedKey* const key = pin.FindKey(pending.kid);
    for (int i = 0; key != nullptr && i < key->version_count(); ++i) {
      const IndexedKey::Version version = key->version(i);
      const Proof own = version.proof ? present->ProofOf(parts, version.proof.ring_id) : Proof();
      if (!own) continue;
      if (Same(own, version.proof)) return true;
      wrong_versions.push_back(version.id);
    }
  }
  absl::StatusOr<std::vector<StoredSecret>> secrets = store.ReadSecrets(pending.kid);
  if (!secrets.ok()) return secrets.status();
  std::vector<StoredSecret> undecided;
  for (StoredSecret& secret : *secrets) {
    if (std::find(wrong_versions.begin(), wrong_versions.end(), secret.version) != wrong_versions.end()) continue;
    const Proof own = secret.proof ? KeyRingHandle::Pin(ring)->ProofOf(parts, secret.proof.ring_id) : Proof();
    if (!own) {
      undecided.push_back(std::move(secret));
    } else if (Same(own, secret.proof)) {
      ++by_database;
      Store({pending.kid, secret.version, pending.name}, own.ring_id != pending.name.ring_id, view);
      return true;
    } else {
      // The next wrong string for this version is refused by memory.
      index.RememberProof({pending.kid, secret.version, secret.proof}, view);
    }
  }
  if (undecided.empty()) {
    ++by_database;
    return false;
  }
  return Hash(pending, std::move(undecided), view);
}

absl::StatusOr<bool> SecretChecker::State::Hash(PendingCheck& pending, std::vector<StoredSecret> secrets,
                                                int64_t view) {
  ++by_hash;
  absl::Status failure;
  // Newest first: after a rotation that is what clients move to.
  std::reverse(secrets.begin(), secrets.end());
  for (const StoredSecret& secret : secrets) {
    core::Secret input;
    {
      const KeyRingHandle::Pin present(ring);
      if (!present->HasPepper(secret.pepper_id)) {
        failure.Update(errors::KeyRingLacks("pepper/" + secret.pepper_id));
        continue;
      }
      input = present->PreHash(secret.pepper_id, pending.kid, pending.secret.Expose());
    }
    const absl::StatusOr<bool> matches = hashes.Matches(*pending.ticket, input, secret.hash);
    if (!matches.ok()) {
      failure.Update(matches.status());
    } else if (*matches) {
      Store({pending.kid, secret.version, pending.name}, true, view);
      return true;
    }
  }
  // With a version that could not be looked at, "wrong" would be a guess.
  if (!failure.ok()) return failure;
  return false;
}

void SecretChecker::State::Store(const KeyProof& proof, bool write, int64_t view) {
  index.RememberProof(proof, view);
  if (!write || !options.shared) return;
  const std::lock_guard<std::mutex> lock(waiting_mutex);
  waiting.push_back({proof, view});
  while (waiting.size() > options.waiting_proofs) waiting.pop_front();
}

void SecretChecker::State::End(PendingCheck& pending, const absl::StatusOr<bool>& right) {
  const base::BootTime now = clock.BootNow();
  const bool is_wrong = right.ok() && !*right;
  std::vector<Waiter> waiters;
  pending.ticket.reset();
  {
    const std::lock_guard<std::mutex> lock(mutex);
    // Before the pending is gone, so that every waiter meets the one or the other.
    if (is_wrong) known_invalid.Add(pending.name, now);
    waiters = std::move(pending.waiters);
    pending_checks.erase(Proof(pending.name));
  }
  if (is_wrong) {
    ++wrong;
    bool slow = false;
    for (const Waiter& waiter : waiters) {
      if (waiter.priority != HashPool::Priority::kBackground) continue;
      slow = true;
      if (!waiter.peer.empty()) peer_failures.Take(waiter.peer, now);
    }
    if (slow) kid_failures.Take(pending.kid, now);
  }
  for (const Waiter& waiter : waiters) {
    if (waiter.deadline <= now) {
      waiter.done(errors::DeadlineExceeded());
    } else {
      waiter.done(right.ok() ? absl::OkStatus() : right.status());
    }
  }
}

void SecretChecker::Store(const KeyProof& proof, int64_t view) { state_->Store(proof, true, view); }

SecretChecker::Counters SecretChecker::counters() const {
  return {.started = state_->begun,
          .joined = state_->joined,
          .by_database = state_->by_database,
          .by_hash = state_->by_hash,
          .wrong = state_->wrong};
}

absl::Status SecretChecker::FlushProofs() {
  State& state = *state_;
  const std::lock_guard<std::mutex> writing(state.writing);
  while (true) {
    std::vector<State::Waiting> batch;
    {
      const std::lock_guard<std::mutex> lock(state.waiting_mutex);
      const auto end =
          state.waiting.begin() + static_cast<ptrdiff_t>(std::min(kProofsInOneWrite, state.waiting.size()));
      batch.assign(state.waiting.begin(), end);
      state.waiting.erase(state.waiting.begin(), end);
    }
    if (batch.empty()) return absl::OkStatus();
    // Not into another history, where the same version may have another secret.
    const int64_t view = state.index.Read().view_id;
    std::vector<KeyProof> proofs;
    for (const State::Waiting& one : batch) {
      if (one.view == view) proofs.push_back(one.proof);
    }
    const absl::Status written = proofs.empty() ? absl::OkStatus() : state.store.PutProofs(std::move(proofs));
    if (written.ok()) continue;
    const std::lock_guard<std::mutex> lock(state.waiting_mutex);
    state.waiting.insert(state.waiting.begin(), batch.begin(), batch.end());
    while (state.waiting.size() > state.options.waiting_proofs) state.waiting.pop_front();
    return written;
  }
}

}  // namespace latchkey::keys
