#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "absl/time/time.h"
#include "client/core/clock.h"
#include "latchkey/verifier.h"

namespace latchkey::faults {

// The keys that clients verify all the time, oldest first. One thread adds, revokes and forgets; any may read what is
// not said to be that thread's.
class KeyTable {
 public:
  static constexpr size_t kMost = 16'384;

  struct Entry {
    std::string name;
    std::string key_string;
    // The adding thread's. When the call that revoked it was sent, and when it had returned OK: the commit is between.
    core::BootTime sent_at;
    core::BootTime revoked_at;

    bool revoked() const { return revoked_at != core::BootTime::Never(); }
  };

  // Its index.
  size_t Add(const std::string& name, const std::string& key_string);
  // Those from first() to end() are verified; ForgetBefore moves first().
  size_t first() const { return first_; }
  size_t end() const { return end_; }
  void ForgetBefore(size_t first) { first_ = first; }

  Entry& operator[](size_t index) { return *entries_[index]; }
  const Entry& operator[](size_t index) const { return *entries_[index]; }

 private:
  std::array<std::unique_ptr<Entry>, kMost> entries_;
  std::atomic<size_t> first_ = 0;
  std::atomic<size_t> end_ = 0;
};

// What a client was told of one key.
struct Told {
  enum class Last { kNothing, kAllowed, kDenied, kUndecided };
  Last last = Last::kNothing;
  core::BootTime asked_at;  // Read just before the question whose answer `last` is.
  // Of the ALLOWED answer that was asked for last: just before the question, and when it had come. The acceptance was
  // between.
  core::BootTime accept_asked_at;
  core::BootTime accept_came_at;
  core::BootTime over_at;  // Just before the first question after it whose answer was not ALLOWED.
};

// A service that verifies all keys of a table, round after round, a few milliseconds apart, and notes what it is told.
// One question about a key is in flight at a time; what could not be decided is asked again after a short pause.
class VerifyingClient {
 public:
  virtual ~VerifyingClient() = default;

  virtual Told ToldOf(size_t key) const = 0;
  // Since the start.
  virtual int64_t undecided() const = 0;
  virtual int64_t accepts() const = 0;
  virtual VerifierStats Stats() const = 0;
  // What the above say is as of this call at least, and the client knows of every key. The adding thread's.
  virtual void Sync() {}
};

// One in this process, with today's library.
class LocalClient final : public VerifyingClient {
 public:
  // Fails the test if the Verifier can't be made.
  LocalClient(const KeyTable& keys, const VerifierOptions& options);
  ~LocalClient() override;
  LocalClient(const LocalClient&) = delete;
  LocalClient& operator=(const LocalClient&) = delete;

  Told ToldOf(size_t key) const override;
  int64_t undecided() const override { return undecided_; }
  int64_t accepts() const override { return accepts_; }
  VerifierStats Stats() const override { return verifier_->Stats(); }

 private:
  // How far one key's verification is.
  struct KeyState {
    bool in_flight = false;
    core::BootTime not_before;
    Told told;
  };
  void Run();
  void StartVerify(size_t key);
  void Note(size_t key, core::BootTime asked_at, const Answer& answer);

  const KeyTable& keys_;
  const core::SystemClock clock_;
  mutable std::mutex mutex_;
  std::vector<KeyState> states_;
  std::atomic<int64_t> undecided_ = 0;
  std::atomic<int64_t> accepts_ = 0;
  std::atomic<bool> stop_ = false;
  std::unique_ptr<Verifier> verifier_;
  std::thread thread_;
};

}  // namespace latchkey::faults
