#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "client/core/clock.h"
#include "client/core/secret.h"
#include "client/core/siphash.h"
#include "client/src/cache/counters.h"
#include "client/src/cache/lease_cache.h"
#include "client/src/timers.h"
#include "latchkey/verifier.h"

namespace latchkey::client {

class BatchSender;

// One caller of Verify that waits for an answer.
struct Waiter {
  using StopHook = std::optional<std::stop_callback<std::function<void()>>>;

  std::vector<std::string> required_permissions;
  std::string client_ip;
  Verifier::Callback done;
  core::BootTime deadline;
  bool retried = false;                 // After UNAVAILABLE.
  int repeats = 0;                      // After answers that could not be believed.
  bool joined = false;                  // A request was under way already.
  std::shared_ptr<StopHook> stop_hook;  // nullptr = it can't be withdrawn.

  // After the answer, without any mutex (it waits for a stop under way) and before the verifier may go: what both have
  // captured goes while it still stands.
  void ReleaseCallbacks() {
    done = nullptr;
    stop_hook = nullptr;
  }

  VerifyParams params() const { return {.required_permissions = required_permissions, .client_ip = client_ip}; }
};

// Verification of one key string that is under way, and all who wait for it. Fields are PendingVerifications', under
// its mutex, but for those that never change.
struct PendingVerification {
  PendingVerification(core::Secret key_string, const LeaseCache::PendingRequest& about, std::string at_least)
      : key(std::move(key_string)), request(about), min_revision(std::move(at_least)) {}

  const core::Secret key;                    // The key string.
  const LeaseCache::PendingRequest request;  // From before it was written: which key's, but not when.
  const std::string min_revision;            // A token that the answer must include; "" = none.

  std::vector<Waiter> waiters;
  core::BootTime deadline;  // The latest of theirs when the request was sent.
  int requests = 0;         // On the wire, or just about to be.
  bool over = false;
  std::optional<Timers::TimerId> timer;
  // While a stream has it: since when, and until when it is given time.
  std::shared_ptr<BatchSender> stream;
  core::BootTime streamed_at;
  core::BootTime fall_back_at;
};

// Stream that takes verifications in batches, as PendingVerifications sees it; VerifyStream is the one over gRPC.
// Thread-safe.
class BatchSender {
 public:
  virtual ~BatchSender() = default;
  // False: the stream is closed. Otherwise OnAnswer follows.
  virtual bool Send(std::shared_ptr<PendingVerification> pending) = 0;
  // Something that was sent at `since` had no answer in its time. True: it is one of several, and the stream has not
  // said anything since.
  virtual bool IsSilentSince(core::BootTime since) = 0;
};

// Single-flight of cache misses: concurrent misses of one key string share one request to a server, whose answer is
// judged for each waiter by its own permissions and address. A request goes by the stream while there is one that
// answers, else in a call of its own. Each waiter keeps its deadline, may be withdrawn by its stop token, and is
// answered exactly once. Knows no gRPC. Thread-safe; holds no mutex while it calls anything but its timers.
class PendingVerifications {
 public:
  // What an answer, or an error, came by.
  enum class AnswerSource { kCall, kStream, kBrokenStream };
  using StatusOrAnswer = absl::StatusOr<LeaseCache::ServerAnswer>;

  struct Dependencies {
    LeaseCache& cache;
    const core::Clock& clock;
    Timers& timers;
    // The stream that is open; nullptr if none is.
    std::function<std::shared_ptr<BatchSender>()> stream;
    // This stream says nothing any more. On the timers.
    std::function<void(const std::shared_ptr<BatchSender>&)> replace_stream;
    // Asks once, in a call of its own. `done` runs once, on any thread.
    std::function<void(std::string_view key_string, absl::Duration timeout, const std::string& min_revision,
                       std::function<void(StatusOrAnswer)> done)>
        call;
    // An answer that no server has counted as a use.
    std::function<void(const LeaseCache::Hit&)> count_use;
    // An answer was given within the grace.
    std::function<void()> on_grace_use;
  };

  // `timeout`: the most that anybody waits.
  PendingVerifications(Dependencies dependencies, absl::Duration timeout);
  // After WaitUntilNoWaiters, and when neither a stream, a call nor a timer can call back.
  ~PendingVerifications();
  PendingVerifications(const PendingVerifications&) = delete;
  PendingVerifications& operator=(const PendingVerifications&) = delete;

  // `key` is well-formed. `done` runs exactly once, on any thread, maybe within this call.
  void Verify(const core::PresentedKey& key, const VerifyParams& params, Verifier::Callback done);

  // What a stream has got for what it was sent: exactly once. `request`: as it was when it was written.
  void OnAnswer(const std::shared_ptr<PendingVerification>& pending, const LeaseCache::PendingRequest& request,
                StatusOrAnswer answer, AnswerSource source);

  // Nobody begins another Verify.
  void WaitUntilNoWaiters();

  // Fills in what is known here.
  void AddTo(VerifierStats& stats) const;

 private:
  enum class Transport { kStreamIfAny, kCall };
  using PendingPtr = std::shared_ptr<PendingVerification>;
  using Waiters = std::vector<Waiter>;
  struct HashDigest {
    size_t operator()(const core::Digest128& digest) const { return digest.low; }
  };

  void JoinOrStart(core::Secret key, const LeaseCache::PendingRequest& request, Waiters waiters, Transport transport,
                   std::string min_revision = "");
  void Send(const PendingPtr& pending, Transport transport);
  // `pending` counts this request already.
  void SendCall(const PendingPtr& pending);
  void Deliver(const PendingVerification& pending, const LeaseCache::PendingRequest& request,
               const StatusOrAnswer& answer, Waiters waiters);
  // No server could decide. Calls back.
  void FailOrServeGrace(std::string_view key_string, Waiter& waiter, const absl::Status& why);
  void OnTimer(const PendingPtr& pending);
  // The waiter with this hook no longer wants its answer.
  void Withdraw(const core::Digest128& digest, const Waiter::StopHook* hook);
  void ScheduleTimer(const PendingPtr& pending) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Remove(PendingVerification& pending) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void ReleaseWaiters(int count);

  const Dependencies deps_;
  const absl::Duration timeout_;

  absl::Mutex mutex_;
  std::unordered_map<core::Digest128, PendingPtr, HashDigest> pending_ ABSL_GUARDED_BY(mutex_);
  int waiters_ ABSL_GUARDED_BY(mutex_) = 0;

  Counter coalesced_, grace_uses_, undecided_, unary_calls_, fallbacks_, retries_;
};

}  // namespace latchkey::client
