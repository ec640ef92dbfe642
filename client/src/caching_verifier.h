#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "client/core/clock.h"
#include "client/src/backoff.h"
#include "client/src/cache/counters.h"
#include "client/src/cache/lease_cache.h"
#include "client/src/connection.h"
#include "client/src/event_loop.h"
#include "client/src/flight.h"
#include "client/src/usage_reporter.h"
#include "client/src/verify_stream.h"
#include "client/src/watcher.h"
#include "latchkey/verifier.h"

namespace latchkey::client {

// The Verifier that remembers: LeaseCache answers, Watcher keeps what it knows right, and what it does not know is
// asked about. Concurrent misses of one key string are one question (a flight); questions ride on the verify stream
// while there is one and it answers, else each goes in a call of its own. A question never carries permissions or an
// address: the answer is judged here, for each asker.
class CachingVerifier : public Verifier {
 public:
  struct Options {
    LeaseCache::Options cache;
    absl::Duration timeout = absl::Seconds(2);
    bool report_usage = true;
    absl::Duration usage_interval = absl::Seconds(10);
    std::shared_ptr<VerifierObserver> observer;
  };
  // `connection`: for unary calls. `make_channel`: one with connections of its own, for each Watch.
  CachingVerifier(Options options, std::unique_ptr<Connection> connection, Watcher::MakeChannel make_channel);
  ~CachingVerifier() override;

  Answer Verify(std::string_view key_string, const VerifyParams& params) override;
  void VerifyAsync(std::string_view key_string, const VerifyParams& params, Callback done) override;
  bool WaitUntilConnected(absl::Duration patience) override;
  VerifierStats Stats() const override;

 private:
  class Tap;
  struct HashDigest {
    size_t operator()(const core::Digest128& digest) const { return digest.low; }
  };
  using FlightPtr = std::shared_ptr<Flight>;
  using Askers = std::vector<Asker>;
  enum class Way { kStreamIfAny, kUnary };
  // What an answer, or an error, came by.
  enum class By { kCall, kStream, kBrokenStream };

  // What is remembered, counted as a hit and as a use.
  std::optional<LeaseCache::Hit> Recall(std::string_view key_string, const VerifyParams& params);
  void Miss(std::string_view key_string, const VerifyParams& params, Callback done);

  // --- Flights ---
  void Board(core::Secret key, const LeaseCache::Question& question, Askers askers, Way way,
             std::string min_revision = "");
  void Send(const FlightPtr& flight, Way way);
  // The flight counts this question already.
  void SendUnary(const FlightPtr& flight);
  void Answered(const FlightPtr& flight, const LeaseCache::Question& question, absl::Status status, By by,
                const v1::VerifyResponse* response);
  void Settle(const Flight& flight, const LeaseCache::Question& question, absl::Status status,
              const v1::VerifyResponse* response, Askers askers);
  void OnTimer(const FlightPtr& flight);
  // The asker with this hook no longer wants its answer.
  void Withdraw(const core::Digest128& digest, const StopHook* hook);
  void Arm(const FlightPtr& flight) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Land(Flight& flight) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // No server could decide. Calls back.
  void Undecide(std::string_view key_string, Asker& asker, const absl::Status& why);
  void Leave(int askers);

  // --- The verify stream; all on the loop ---
  void Up(const std::shared_ptr<grpc::Channel>& channel);
  void Down();
  void OpenStream();
  void StreamGone(VerifyStream* stream);
  void ReplaceStream(const std::shared_ptr<VerifyStream>& stream);
  std::shared_ptr<VerifyStream> SwapStream(std::shared_ptr<VerifyStream> stream);
  void NoteStopped();

  const absl::Duration timeout_;
  const core::SystemClock clock_;
  LeaseCache cache_;
  std::unique_ptr<EventLoop> loop_;
  std::unique_ptr<Connection> connection_;
  std::unique_ptr<UsageReporter> usage_;  // nullptr = nobody wants to know.
  const std::shared_ptr<VerifierObserver> observer_;
  std::unique_ptr<Watcher> watcher_;

  mutable absl::Mutex mutex_;
  std::unordered_map<core::Digest128, FlightPtr, HashDigest> flights_ ABSL_GUARDED_BY(mutex_);
  int askers_ ABSL_GUARDED_BY(mutex_) = 0;
  std::shared_ptr<VerifyStream> stream_ ABSL_GUARDED_BY(mutex_);

  // --- On the loop ---
  std::shared_ptr<grpc::Channel> stream_channel_;  // nullptr while no Watch is up.
  Backoff stream_backoff_;
  int open_streams_ = 0;
  bool stopping_ = false;
  bool watcher_stopped_ = false;
  absl::Notification stopped_;

  std::atomic<bool> in_grace_{false};
  Counter hits_, misses_, coalesced_, grace_uses_, undecided_, batches_, batched_, unary_calls_, fallbacks_, retries_,
      stream_breaks_;
};

}  // namespace latchkey::client
