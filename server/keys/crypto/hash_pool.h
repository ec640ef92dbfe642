#pragma once

#include <array>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/core/secret.h"
#include "server/base/clock.h"
#include "server/keys/crypto/phc_hash.h"

namespace latchkey::keys {

// The only place that runs Argon2: a fixed number of workers, each with one pre-allocated arena, so that memory is
// fixed and allocation costs nothing (measured: 40.7 → 22.9 ms a hash). Two lanes share the workers 9:1. Thread-safe.
class HashPool {
 public:
  struct Options {
    int workers = 1;  // max(1, cores / 2) is a good choice.
    HashProfile profile = OwaspProfile();
    int nice = 10;  // Added to the workers' priority number (setpriority(2)): verification of proven keys goes first.
  };
  // While both lanes wait, nine hashes of the first are followed by one of the slow one; a priority that waits alone
  // has the workers for itself. kBackground: strings of which the tag filter knows nothing.
  enum class Priority { kInteractive, kBackground };
  // A place in the queue; gives it back when destroyed.
  class Ticket {
   public:
    Ticket(Ticket&& other) noexcept;
    Ticket& operator=(Ticket&&) = delete;
    ~Ticket();

   private:
    friend class HashPool;
    Ticket(HashPool* pool, Priority priority) : pool_(pool), priority_(priority) {}
    HashPool* pool_;
    Priority priority_;
  };

  HashPool(Options options, const base::Clock& clock);
  ~HashPool();
  HashPool(const HashPool&) = delete;
  HashPool& operator=(const HashPool&) = delete;

  // A place for one hash, or HASH_POOL_FULL with how long to wait if the predicted wait plus the cost of one hash is
  // longer than `patience`. Predicted from the tickets that are out and would be served first, and a moving average of
  // what a hash took; while none is out, from 25 ms at most. Never blocks.
  absl::StatusOr<Ticket> Admit(absl::Duration patience, Priority priority = Priority::kInteractive);

  // The PHC string of `input` under the pool's profile and a random 16-byte salt. Blocks for the hash.
  // SHUTTING_DOWN if the pool is destroyed before a worker was free, as for Matches.
  absl::StatusOr<std::string> Hash(const Ticket& ticket, const core::Secret& input);
  // Whether `input` hashes to `phc`. Blocks for the hash. INTERNAL if `phc` is not one ParsePhc takes.
  absl::StatusOr<bool> Matches(const Ticket& ticket, const core::Secret& input, const std::string& phc);

  const HashProfile& profile() const { return options_.profile; }
  // How many hashes have been computed since the start.
  int64_t computed() const { return computed_.load(); }
  // How many hashes of a priority wait for a worker now.
  size_t waiting(Priority priority) const;

 private:
  struct Job;
  // `hash_size` bytes of Argon2id on a worker's arena. Blocks.
  absl::StatusOr<std::string> Compute(Priority priority, const PhcHash& parameters, size_t hash_size,
                                      const core::Secret& input);
  void Work();
  // The next job by the lanes' order. One waits; under mutex_.
  Job* Pick();
  // How many hashes would be served before one that is admitted to `priority` now. Under mutex_.
  int Ahead(Priority priority) const;
  void Release(Priority priority);

  const Options options_;
  const base::Clock& clock_;
  std::atomic<int64_t> computed_{0};
  mutable std::mutex mutex_;
  std::condition_variable ready_;
  std::array<std::deque<Job*>, 2> queues_;        // By priority.
  std::array<int, 2> pending_{};                  // Tickets out, by priority.
  int passed_over_ = 0;                           // First-priority hashes since the slow priority had its turn.
  absl::Duration cost_ = absl::Milliseconds(25);  // Moving average of one hash.
  bool stopping_ = false;
  std::vector<std::thread> workers_;
};

}  // namespace latchkey::keys
