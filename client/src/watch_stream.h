#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "client/core/clock.h"
#include "client/core/revision_token.h"
#include "client/core/secret.h"
#include "client/src/event_loop.h"
#include "grpcpp/channel.h"
#include "grpcpp/client_context.h"
#include "grpcpp/support/client_callback.h"
#include "latchkey/v1/key_verify.grpc.pb.h"

namespace latchkey::client {

// One Watch call: writes what it is told to, hands over what it hears. Everything but the constructor's work by gRPC
// happens on the loop, so that neither it nor who listens needs a lock.
class WatchStream : private grpc::ClientBidiReactor<v1::WatchRequest, v1::WatchResponse> {
 public:
  struct Events {
    // In the order of their coming; the next is read when this returns.
    std::function<void(WatchStream&, const v1::WatchResponse&)> heard;
    // Nothing more comes, and nothing of gRPC's is left: the stream may be destroyed, in here too. Once.
    std::function<void(WatchStream&, const absl::Status&)> gone;
  };

  // Opens a stream on `channel`, which it keeps until the end, and subscribes.
  WatchStream(std::shared_ptr<grpc::Channel> channel, const core::Secret& caller_key, const core::Clock& clock,
              EventLoop& loop, uint64_t cache_stream, const std::optional<core::RevisionToken>& resume, Events events);

  // Soon, and once however often it is asked for before it is written.
  void Ping(const core::RevisionToken& acknowledged);
  // When the Ping with this number was written, to the time just before; nullopt if there was none. Forgets it and all
  // before it.
  std::optional<core::BootTime> TakeSentAt(uint64_t seq);
  // Ends it soon; `gone` follows.
  void Cancel();

  const std::shared_ptr<grpc::Channel>& channel() const { return channel_; }
  // LeaseCache's number for it.
  uint64_t cache_stream() const { return cache_stream_; }

 private:
  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnDone(const grpc::Status& status) override;
  void Write();

  const core::Clock& clock_;
  EventLoop& loop_;
  const uint64_t cache_stream_;
  const Events events_;
  const std::shared_ptr<grpc::Channel> channel_;
  const std::unique_ptr<v1::KeyVerify::Stub> stub_;
  std::optional<grpc::ClientContext> context_{std::in_place};
  v1::WatchRequest request_;
  v1::WatchResponse response_;
  bool writing_ = false;
  bool over_ = false;
  std::optional<core::RevisionToken> ping_;  // To be written.
  uint64_t next_seq_ = 1;
  std::deque<std::pair<uint64_t, core::BootTime>> sent_;
};

}  // namespace latchkey::client
