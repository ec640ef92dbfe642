#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <unordered_map>
#include <vector>

#include "absl/status/status.h"
#include "client/core/clock.h"
#include "client/core/secret.h"
#include "client/src/cache/lease_cache.h"
#include "client/src/event_loop.h"
#include "client/src/pending_verifications.h"
#include "grpcpp/channel.h"
#include "grpcpp/client_context.h"
#include "grpcpp/support/client_callback.h"
#include "latchkey/v1/key_verify.grpc.pb.h"

namespace latchkey::client {

// StreamVerify call over gRPC, which batches what it is given: what arrives while a message is being written forms the
// next one, at most 64 requests. Thread-safe. Lives until gRPC is done with it, whoever lets go of it.
class VerifyStream final : public BatchSender,
                           private grpc::ClientBidiReactor<v1::StreamVerifyRequest, v1::StreamVerifyResponse> {
 public:
  struct Events {
    // Each that was sent exactly once: its answer or an error; kBrokenStream if the error is the stream's.
    std::function<void(const std::shared_ptr<PendingVerification>&, const LeaseCache::PendingRequest&,
                       PendingVerifications::StatusOrAnswer, PendingVerifications::AnswerSource)>
        answered;
    // A message with so many requests is being written.
    std::function<void(int requests)> written;
    // On the loop, once: nothing of it is left.
    std::function<void(VerifyStream*, const absl::Status&)> gone;
  };

  static std::shared_ptr<VerifyStream> Open(const std::shared_ptr<grpc::Channel>& channel,
                                            const core::Secret& caller_key, LeaseCache& cache, const core::Clock& clock,
                                            EventLoop& loop, Events events);

  bool Send(std::shared_ptr<PendingVerification> pending) override;
  bool IsSilentSince(core::BootTime since) override;
  // No more requests. Those on their way get their answers, or an error within `patience`.
  void Close(absl::Duration patience);
  // Everything that has no answer gets an error.
  void Abort();

 private:
  struct Item {
    std::shared_ptr<PendingVerification> pending;
    LeaseCache::PendingRequest request;
  };
  struct Batch {
    std::vector<Item> items;
    size_t left = 0;
  };

  VerifyStream(LeaseCache& cache, const core::Clock& clock, EventLoop& loop, Events events);
  void OnWriteDone(bool ok) override;
  void OnReadDone(bool ok) override;
  void OnDone(const grpc::Status& status) override;
  // Both with the mutex held.
  void WriteNext();
  void Fail();

  LeaseCache& cache_;
  const core::Clock& clock_;
  EventLoop& loop_;
  const Events events_;
  std::optional<grpc::ClientContext> context_{std::in_place};
  std::unique_ptr<v1::KeyVerify::Stub> stub_;
  std::shared_ptr<VerifyStream> self_;  // Until OnDone.

  std::mutex mutex_;
  bool closed_ = false;
  bool failed_ = false;
  bool writing_ = false;
  int silences_ = 0;
  uint64_t next_batch_ = 1;
  std::vector<std::shared_ptr<PendingVerification>> waiting_;
  std::unordered_map<uint64_t, Batch> batches_;
  v1::StreamVerifyRequest request_;
  v1::StreamVerifyResponse response_;
  std::atomic<int64_t> heard_at_ns_{0};
};

}  // namespace latchkey::client
