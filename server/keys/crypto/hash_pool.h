#pragma once

#include <array>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/core/secret.h"
#include "server/base/clock.h"
#include "server/base/fair_queue.h"
#include "server/keys/crypto/phc_hash.h"

namespace latchkey::keys {

// The only place that runs Argon2: a fixed number of workers, each with one pre-allocated arena, so that memory is
// fixed and allocation costs nothing (measured: 40.7 → 22.9 ms a hash). Two lanes share the workers 9:1, and within a
// lane the shares take turns (base::FairQueue). Thread-safe.
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
    Ticket(HashPool* pool, Priority priority, std::string share)
        : pool_(pool), priority_(priority), share_(std::move(share)) {}
    HashPool* pool_;
    Priority priority_;
    std::string share_;
  };

  HashPool(Options options, const base::Clock& clock);
  ~HashPool();
  HashPool(const HashPool&) = delete;
  HashPool& operator=(const HashPool&) = delete;

  // A place for one hash, or HASH_POOL_FULL with how long to wait if the predicted wait plus the cost of one hash is
  // longer than `patience`. Predicted from the tickets that are out and would be served first, and a moving average of
  // what a hash took; while none is out, from 25 ms at most. `share`: on whose behalf; another share's many tickets are
  // no more ahead than this one's own. Never blocks.
  absl::StatusOr<Ticket> Admit(absl::Duration patience, Priority priority = Priority::kInteractive,
                               const std::string& share = "");

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
  absl::StatusOr<std::string> Compute(const Ticket& ticket, const PhcHash& parameters, size_t hash_size,
                                      const core::Secret& input);
  void Work();
  // The queue of the next job by the lanes' order. One waits; under mutex_.
  base::FairQueue<Job*>& NextQueue();
  // How many hashes would be served before one that is admitted now. Under mutex_.
  int Ahead(Priority priority, const std::string& share) const;
  int AheadInLane(Priority priority, const std::string& share) const;
  void Release(const Ticket& ticket);

  const Options options_;
  const base::Clock& clock_;
  std::atomic<int64_t> computed_{0};
  mutable std::mutex mutex_;
  std::condition_variable ready_;
  std::array<base::FairQueue<Job*>, 2> queues_;                   // By priority. As many wait as have tickets.
  std::array<absl::flat_hash_map<std::string, int>, 2> pending_;  // Tickets out, by priority and share; none is 0.
  int passed_over_ = 0;                           // First-priority hashes since the slow priority had its turn.
  absl::Duration cost_ = absl::Milliseconds(25);  // Moving average of one hash.
  bool stopping_ = false;
  std::vector<std::thread> workers_;
};

}  // namespace latchkey::keys
