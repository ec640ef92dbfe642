#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string_view>

#include "absl/time/time.h"
#include "client/core/clock.h"
#include "client/src/cache/counters.h"
#include "client/src/cache/lease_cache.h"
#include "client/src/connection.h"
#include "client/src/event_loop.h"
#include "client/src/pending_verifications.h"
#include "client/src/usage_reporter.h"
#include "client/src/verify_stream_holder.h"
#include "client/src/watcher.h"
#include "latchkey/verifier.h"

namespace latchkey::client {

// Verifier with a client-side cache: a façade over LeaseCache, which answers hits; PendingVerifications, which asks
// servers about the rest; Watcher, which keeps the cache right; VerifyStreamHolder and UsageReporter. A request never
// carries permissions or an address: the answer is judged here, for each caller.
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
  using MakeChannel = std::function<std::shared_ptr<grpc::Channel>()>;
  CachingVerifier(Options options, std::unique_ptr<Connection> connection, MakeChannel make_channel);
  ~CachingVerifier() override;

  Answer Verify(std::string_view key_string, const VerifyParams& params) override;
  void VerifyAsync(std::string_view key_string, const VerifyParams& params, Callback done) override;
  bool WaitUntilConnected(absl::Duration patience) override;
  VerifierStats Stats() const override;

 private:
  class GraceObserver;

  // What is remembered, counted as a hit and as a use.
  std::optional<LeaseCache::Hit> Lookup(const core::PresentedKey& key, const VerifyParams& params);
  PendingVerifications::Dependencies PendingDependencies();
  VerifyStreamHolder::Dependencies StreamDependencies();

  const core::SystemClock clock_;
  LeaseCache cache_;
  std::unique_ptr<EventLoop> loop_;
  std::unique_ptr<Connection> connection_;
  const std::shared_ptr<GraceObserver> observer_;
  PendingVerifications pending_;
  VerifyStreamHolder streams_;
  std::unique_ptr<UsageReporter> usage_;  // nullptr = nobody wants to know.
  std::unique_ptr<Watcher> watcher_;

  Counter hits_, misses_;
};

}  // namespace latchkey::client
