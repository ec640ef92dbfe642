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
#include "latchkey/v1/key_verify.pb.h"

namespace grpc {
class Channel;
}

namespace latchkey::client {

// When the pings of one stream were written, by their numbers: what a lease counts from. Not thread-safe.
class SentPings {
 public:
  // The number of a ping that is written now.
  uint64_t Add(core::BootTime now) {
    if (sent_.size() >= kRemembered) sent_.pop_front();
    sent_.emplace_back(next_seq_, now);
    return next_seq_++;
  }
  // nullopt if there was none. Forgets it and all before it.
  std::optional<core::BootTime> Take(uint64_t seq) {
    while (!sent_.empty() && sent_.front().first < seq) sent_.pop_front();
    if (sent_.empty() || sent_.front().first != seq) return std::nullopt;
    const core::BootTime sent_at = sent_.front().second;
    sent_.pop_front();
    return sent_at;
  }

 private:
  // More than these are never without a Pong on a stream that is not given up.
  static constexpr size_t kRemembered = 1'024;
  uint64_t next_seq_ = 1;
  std::deque<std::pair<uint64_t, core::BootTime>> sent_;
};

// Transport of one Watch call as the Watcher sees it: an open stream that subscribes by itself, writes pings and hands
// over what it hears. WatchStream is the one over gRPC. All on the watcher's Timers.
class WatchConnection {
 public:
  struct Events {
    // In the order of their coming.
    std::function<void(WatchConnection&, const v1::WatchResponse&)> heard;
    // Nothing more comes: the connection may be destroyed, in here too. Once, and not within a call of it.
    std::function<void(WatchConnection&, const absl::Status&)> gone;
  };

  // `cache_stream`: LeaseCache's number for the stream.
  explicit WatchConnection(uint64_t cache_stream) : cache_stream_(cache_stream) {}
  virtual ~WatchConnection() = default;
  WatchConnection(const WatchConnection&) = delete;
  WatchConnection& operator=(const WatchConnection&) = delete;

  // Writes a ping soon, and one however often it is asked for before it is written.
  virtual void Ping(const core::RevisionToken& acknowledged) = 0;
  // When the ping with this number was written, to the time just before; as SentPings::Take.
  virtual std::optional<core::BootTime> TakeSentAt(uint64_t seq) = 0;
  // Ends it soon; `gone` follows.
  virtual void Cancel() = 0;
  // What it runs on; nullptr if that is no gRPC.
  virtual const std::shared_ptr<grpc::Channel>& channel() const = 0;

  uint64_t cache_stream() const { return cache_stream_; }

 private:
  const uint64_t cache_stream_;
};

}  // namespace latchkey::client
