#pragma once

#include <functional>
#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "client/core/clock.h"
#include "client/core/secret.h"
#include "client/src/backoff.h"
#include "client/src/cache/counters.h"
#include "client/src/cache/lease_cache.h"
#include "client/src/event_loop.h"
#include "client/src/pending_verifications.h"
#include "client/src/verify_stream.h"
#include "grpcpp/channel.h"
#include "latchkey/metrics.h"

namespace latchkey::client {

// Keeps one StreamVerify call open while a Watch is up, over the watch's channel: reconnects with backoff when it
// breaks, replaces it when it is stuck, closes it when the Watch is down. Lives on the loop; current() and the numbers
// are for any thread.
class VerifyStreamHolder {
 public:
  struct Dependencies {
    LeaseCache& cache;
    const core::Clock& clock;
    EventLoop& loop;
    const core::Secret& caller_key;
    // What a stream has got for what it was sent; errors don't quote the caller's key.
    std::function<void(const std::shared_ptr<PendingVerification>&, const LeaseCache::PendingRequest&,
                       PendingVerifications::StatusOrAnswer, PendingVerifications::AnswerSource)>
        on_answer;
  };

  explicit VerifyStreamHolder(Dependencies dependencies);
  ~VerifyStreamHolder();  // After `stopped`.
  VerifyStreamHolder(const VerifyStreamHolder&) = delete;
  VerifyStreamHolder& operator=(const VerifyStreamHolder&) = delete;

  // nullptr while none is open.
  std::shared_ptr<VerifyStream> current() const;
  // Fills in what is known here.
  void AddTo(VerifierStats& stats) const;

  // --- On the loop ---
  // Opens a stream on a channel that leads to a server that works, in place of the one before.
  void OnWatchUp(const std::shared_ptr<grpc::Channel>& channel);
  void OnWatchDown();
  // Gives up a stream that says nothing, if it is the current one, and opens another.
  void Replace(const std::shared_ptr<BatchSender>& stuck);
  // Once: opens no more. `stopped` runs on the loop when nothing of any stream is left.
  void Stop(std::function<void()> stopped);

 private:
  void Open();
  void OnGone(VerifyStream* stream);
  // Returns the one before.
  std::shared_ptr<VerifyStream> Swap(std::shared_ptr<VerifyStream> stream);
  void NoteStopped();

  const Dependencies deps_;

  mutable absl::Mutex mutex_;
  std::shared_ptr<VerifyStream> current_ ABSL_GUARDED_BY(mutex_);

  // --- On the loop ---
  std::shared_ptr<grpc::Channel> channel_;  // nullptr while no Watch is up.
  Backoff backoff_;
  int open_streams_ = 0;           // The current one, and those that are ending.
  std::function<void()> stopped_;  // nullptr before Stop.

  Counter batches_, batched_, breaks_;
};

}  // namespace latchkey::client
