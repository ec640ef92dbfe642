#pragma once

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
#include "server/keys/hashing.h"

namespace latchkey::keys {

// The only place that runs Argon2: a fixed number of workers, each with one pre-allocated arena, so that memory is
// fixed and allocation costs nothing (measured: 40.7 → 22.9 ms a hash). Thread-safe.
class HashPool {
 public:
  struct Options {
    int workers = 1;  // max(1, cores / 2) is a good choice.
    HashProfile profile = OwaspProfile();
  };
  // A place in the queue; gives it back when destroyed.
  class Ticket {
   public:
    Ticket(Ticket&& other) noexcept;
    Ticket& operator=(Ticket&&) = delete;
    ~Ticket();

   private:
    friend class HashPool;
    explicit Ticket(HashPool* pool) : pool_(pool) {}
    HashPool* pool_;
  };

  HashPool(Options options, const base::Clock& clock);
  ~HashPool();
  HashPool(const HashPool&) = delete;
  HashPool& operator=(const HashPool&) = delete;

  // A place for one hash, or HASH_POOL_FULL with how long to wait if the predicted wait plus the cost of one hash is
  // longer than `patience`. Never blocks.
  absl::StatusOr<Ticket> Admit(absl::Duration patience);

  // The PHC string of `input` under the pool's profile and a random 16-byte salt. Blocks for the hash.
  absl::StatusOr<std::string> Hash(const Ticket& ticket, const core::Secret& input);
  // Whether `input` hashes to `phc`. Blocks for the hash. INTERNAL if `phc` is not one ParsePhc takes.
  absl::StatusOr<bool> Matches(const Ticket& ticket, const core::Secret& input, const std::string& phc);

  const HashProfile& profile() const { return options_.profile; }
  // How many hashes have been computed since the start.
  int64_t computed() const { return computed_.load(); }

 private:
  struct Job;
  // `hash_size` bytes of Argon2id on a worker's arena. Blocks.
  absl::StatusOr<std::string> Compute(const PhcHash& parameters, size_t hash_size, const core::Secret& input);
  void Work();
  void Release();

  const Options options_;
  const base::Clock& clock_;
  std::atomic<int64_t> computed_{0};
  std::mutex mutex_;
  std::condition_variable ready_;
  std::deque<Job*> queue_;
  int pending_ = 0;                               // Tickets out.
  absl::Duration cost_ = absl::Milliseconds(25);  // Moving average of one hash.
  bool stopping_ = false;
  std::vector<std::thread> workers_;
};

}  // namespace latchkey::keys
