#pragma once

#include <atomic>
#include <cstddef>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

// Accounting of what callers hold of the server, against limits: accounts form trees (process → connection, process →
// organization → caller), and what is charged to one is charged to all above it.
namespace latchkey::rpc {

// When to try again what found an account full (WORKERS_BUSY).
inline constexpr absl::Duration kFullRetryAfter = absl::Seconds(1);

// Two resources. A place is for work: given back when the work is done. Bytes are for memory: given back when the peer
// has taken them, or the call is closed.
struct Amount {
  size_t places = 0;
  size_t bytes = 0;
};

// What one holder (the process, a connection, a caller …) holds, and may hold. Thread-safe.
class Account {
 public:
  explicit Account(Amount limit, std::shared_ptr<Account> parent = nullptr)
      : limit_(limit), parent_(std::move(parent)) {}
  Account(const Account&) = delete;
  Account& operator=(const Account&) = delete;

  Amount held() const { return {places_.load(std::memory_order_relaxed), bytes_.load(std::memory_order_relaxed)}; }
  const Amount& limit() const { return limit_; }
  // Whether `amount` fits into this account itself, whatever is above it.
  bool HasRoomFor(Amount amount) const;

 private:
  friend class Charge;
  bool Take(Amount amount);
  void TakeBeyondLimit(Amount amount);
  void GiveBack(Amount amount);

  const Amount limit_;
  const std::shared_ptr<Account> parent_;
  std::atomic<size_t> places_ = 0;
  std::atomic<size_t> bytes_ = 0;
};

// What something holds of an account and of all above it; given back at its end. Movable. Not thread-safe.
class Charge {
 public:
  // Holds nothing.
  Charge() = default;
  // WORKERS_BUSY if the account, or one above it, is full: then nothing is held.
  static absl::StatusOr<Charge> Take(std::shared_ptr<Account> account, Amount amount);
  // Also if it is full: for what takes the place of something that is being ended.
  static Charge TakeBeyondLimit(std::shared_ptr<Account> account, Amount amount);

  Charge(Charge&& other) noexcept : account_(std::move(other.account_)), held_(std::exchange(other.held_, {})) {}
  Charge& operator=(Charge&& other) noexcept;
  ~Charge() { Release(); }

  // Adds what `more` holds. If that is of another account, what was held before is given back.
  void Add(Charge more);
  // A part of it; what is not held is not given back.
  void GiveBack(Amount amount);
  // All of it.
  void Release() { GiveBack(held_); }
  const Amount& held() const { return held_; }

 private:
  Charge(std::shared_ptr<Account> account, Amount held) : account_(std::move(account)), held_(held) {}

  std::shared_ptr<Account> account_;
  Amount held_;
};

// Accounts of equal limits under one parent, by name. One that nothing is charged to may be forgotten. Thread-safe.
class AccountsByName {
 public:
  AccountsByName(Amount each, std::shared_ptr<Account> parent) : each_(each), parent_(std::move(parent)) {}

  std::shared_ptr<Account> Of(const std::string& name);

 private:
  const Amount each_;
  const std::shared_ptr<Account> parent_;
  std::mutex mutex_;
  absl::flat_hash_map<std::string, std::shared_ptr<Account>> accounts_;
  size_t tidy_at_ = 1024;  // Entries.
};

}  // namespace latchkey::rpc
