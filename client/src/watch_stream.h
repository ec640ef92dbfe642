#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "absl/status/status.h"
#include "client/core/clock.h"
#include "client/core/revision_token.h"
#include "client/core/secret.h"
#include "client/src/event_loop.h"
#include "client/src/watch_connection.h"
#include "grpcpp/channel.h"
#include "grpcpp/client_context.h"
#include "grpcpp/support/client_callback.h"
#include "latchkey/v1/key_verify.grpc.pb.h"

namespace latchkey::client {

// Watch call over gRPC. Everything but the constructor's work by gRPC happens on the loop, so that neither it nor who
// listens needs a lock.
class WatchStream final : public WatchConnection, private grpc::ClientBidiReactor<v1::WatchRequest, v1::WatchResponse> {
 public:
  // Opens a stream on `channel`, which it keeps until the end, and subscribes.
  WatchStream(std::shared_ptr<grpc::Channel> channel, const core::Secret& caller_key, const core::Clock& clock,
              EventLoop& loop, uint64_t cache_stream, const std::optional<core::RevisionToken>& resume, Events events);

  void Ping(const core::RevisionToken& acknowledged) override;
  std::optional<core::BootTime> TakeSentAt(uint64_t seq) override { return sent_.Take(seq); }
  void Cancel() override;
  const std::shared_ptr<grpc::Channel>& channel() const override { return channel_; }

 private:
  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnDone(const grpc::Status& status) override;
  void Write();

  const core::Clock& clock_;
  EventLoop& loop_;
  const Events events_;
  const std::shared_ptr<grpc::Channel> channel_;
  const std::unique_ptr<v1::KeyVerify::Stub> stub_;
  std::optional<grpc::ClientContext> context_{std::in_place};
  v1::WatchRequest request_;
  v1::WatchResponse response_;
  bool writing_ = false;
  bool over_ = false;
  std::optional<core::RevisionToken> ping_;  // To be written.
  SentPings sent_;
};

}  // namespace latchkey::client
