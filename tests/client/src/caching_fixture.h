#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <utility>

#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "gtest/gtest.h"
#include "latchkey/testing/test_server.h"
#include "latchkey/verifier.h"

// What the tests of the real Verifier against latchkey::testing::TestServer share.
namespace latchkey {

// Polls; what it waits for comes by itself, or the test has failed.
inline bool Eventually(const std::function<bool()>& condition) {
  const absl::Time until = absl::Now() + absl::Seconds(20);
  absl::Notification never;
  while (!condition()) {
    if (absl::Now() > until || never.WaitForNotificationWithTimeout(absl::Milliseconds(1))) return false;
  }
  return true;
}

class Recorder : public VerifierObserver {
 public:
  void OnWatchUp(bool resumed) override { ++(resumed ? resumed_ : ups_); }
  void OnWatchDown(const absl::Status& why) override {
    const absl::MutexLock lock(&mutex_);
    ++downs_;
    why_ = why;
  }
  void OnDrain() override { ++drains_; }
  void OnLeaseLost() override { ++lost_; }
  void OnLeaseGained() override { ++gained_; }
  void OnGraceBegan() override { ++graces_; }
  absl::Status why() {
    const absl::MutexLock lock(&mutex_);
    return why_;
  }

  std::atomic<int> ups_ = 0, resumed_ = 0, downs_ = 0, drains_ = 0, lost_ = 0, gained_ = 0, graces_ = 0;

 private:
  absl::Mutex mutex_;
  absl::Status why_;
};

inline std::unique_ptr<Verifier> Connect(const VerifierOptions& options) {
  auto verifier = Verifier::Connect(options);
  EXPECT_TRUE(verifier.ok()) << verifier.status();
  return *std::move(verifier);
}

inline VerifierOptions Patient(const testing::TestServer& server) {
  VerifierOptions options = server.Options();
  options.timeout = absl::Seconds(20);
  return options;
}

// With a stream up and a lease held: from here on, answers are remembered.
inline std::unique_ptr<Verifier> ConnectWatching(const VerifierOptions& options) {
  std::unique_ptr<Verifier> verifier = Connect(options);
  EXPECT_TRUE(Eventually([&] { return verifier->Stats().lease_remaining > absl::ZeroDuration(); }));
  return verifier;
}

}  // namespace latchkey
