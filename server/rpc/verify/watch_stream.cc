#include "server/rpc/verify/watch_stream.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "client/core/resource_names.h"
#include "server/base/errors.h"
#include "server/keys/replication/watch_session.h"
#include "server/model/built_in_roles.h"
#include "server/rpc/call/authenticated_stream.h"
#include "server/rpc/verify/verify_requests.h"
#include "server/rpc/verify/watch_messages.h"

namespace latchkey::rpc {
namespace {

constexpr Method kWatch = {"latchkey.v1.KeyVerify/Watch", keys::kVerify, false};
constexpr auto kSweepEvery = std::chrono::seconds(1);
constexpr auto kDrainGrace = std::chrono::seconds(1);
// A thousand clients of one key come back at once after a restart.
constexpr double kSubscribesPerSecond = 200;
constexpr int kSubscribesAtOnce = 2000;
constexpr size_t kSubscribers = 16'384;  // Keys whose subscribing is remembered.

}  // namespace

// What streams, hub and writer share.
struct WatchStreams::Shared {
  void Schedule(std::shared_ptr<Stream> stream) {
    {
      const std::lock_guard lock(mutex);
      ready.push_back(std::move(stream));
    }
    wake.notify_one();
  }

  std::mutex mutex;
  std::condition_variable wake;
  std::vector<std::shared_ptr<Stream>> ready;  // Those with something to write.
  std::optional<std::chrono::steady_clock::time_point> draining_since;
  bool stopping = false;
};

class WatchStreams::Stream final : public AuthenticatedStream {
 public:
  // A client that does not read is ended by its session: it can't send the next ping either.
  Stream(WatchStreams& streams, StreamCall& call)
      : AuthenticatedStream(call, kWatch, streams.dependencies_.calls, streams.registry_, streams.dependencies_.clock,
                            {}),
        shared_(streams.shared_),
        subscribes_(streams.subscribes_),
        clock_(streams.dependencies_.clock),
        session_(std::in_place, keys::WatchSession::Dependencies{.hub = streams.dependencies_.hub,
                                                                 .index = streams.dependencies_.index,
                                                                 .follower = streams.dependencies_.follower,
                                                                 .clock = streams.dependencies_.clock}) {}

  // Writes what there is to write.
  void Pump() {
    const std::lock_guard lock(mutex());
    PumpLocked();
    MaybeFinishLocked();
  }

 private:
  bool Parse(const std::string& message) override { return request_.ParseFromString(message); }
  void NoteHeardLocked() override { session_->NoteHeard(); }

  // The message in request_. The stream of a caller who can't be judged now stays, so that Invalidates go on and the
  // client's cache is whole when the lease returns; only no time is lent to it meanwhile.
  void Take(const absl::Status& known) override {
    const std::lock_guard lock(mutex());
    const absl::Status taken = session_->subscribed() ? TakePingLocked(known.ok()) : SubscribeLocked();
    if (!taken.ok()) EndLocked(taken, /*drop=*/true);
    just_judged_ = true;
    LeaveLocked(/*took=*/true);
  }

  absl::Status SubscribeLocked() {
    absl::StatusOr<Subscription> wanted = SubscriptionOf(request_);
    if (!wanted.ok()) return wanted.status();
    const absl::Duration wait = subscribes_.TakeOrWait(caller().principal().kid, clock_.BootNow());
    if (wait > absl::ZeroDuration()) return errors::WorkersBusy(wait);
    const std::string& own = caller().principal().organization;
    for (const std::string& organization : wanted->organizations) {
      if (!caller().principal().ActsOn(organization)) return errors::FieldNotSupported("subscribe.organizations");
    }
    if (wanted->organizations.empty() && own != core::kSystemOrganization) wanted->organizations = {own};
    std::weak_ptr<Stream> weak = std::static_pointer_cast<Stream>(shared_from_this());
    return session_->Subscribe(std::move(wanted->organizations), wanted->resume,
                               [shared = shared_, weak = std::move(weak)] {
                                 if (std::shared_ptr<Stream> stream = weak.lock()) shared->Schedule(std::move(stream));
                               });
  }

  absl::Status TakePingLocked(bool may_lend) {
    const absl::StatusOr<Ping> ping = PingOf(request_);
    if (!ping.ok()) return ping.status();
    return session_->OnPing(ping->seq, ping->acknowledged, may_lend);
  }

  void PumpLocked() override {
    const bool just_judged = std::exchange(just_judged_, false);
    if (ended() || writing()) return;
    const std::optional<keys::WatchSession::Message> next = session_->Next();
    if (!session_->ended().ok()) EndLocked(session_->ended(), /*drop=*/true);
    if (!next.has_value()) return;
    if (!just_judged) EndIfCallerIsRefusedLocked();
    if (ended()) return;
    ToProto(*next, &response_);
    read_after_write_ = response_.has_hello() || response_.has_pong();
    WriteLocked(response_.SerializeAsString());
  }

  void NoteWrittenLocked() override {
    if (std::exchange(read_after_write_, false)) AllowReadLocked();
  }

  void DrainLocked() override { session_->StartDraining(); }

  void SweepLocked(bool over) override {
    if (over) EndLocked(errors::ShuttingDown(), /*drop=*/true);
    EndIfCallerIsRefusedLocked();
    session_->CheckLiveness();
    if (!session_->ended().ok()) EndLocked(session_->ended(), /*drop=*/true);
  }

  // Its key may have been revoked since its last message: nothing more is given to it, and nothing at all for longer
  // than to the next sweep.
  void EndIfCallerIsRefusedLocked() {
    if (taking()) return;  // It is being judged.
    const std::optional<absl::Status> known = caller().FromMemory(/*counted=*/false);
    if (known.has_value() && Caller::IsRefusal(*known)) EndLocked(*known, /*drop=*/true);
  }

  // Unsubscribed here, not when the last who wakes it lets go: the hub must not wait for a client that is gone.
  void ReleaseLocked() override { session_.reset(); }

  const std::shared_ptr<Shared> shared_;
  base::RateLimiter& subscribes_;
  const base::Clock& clock_;
  v1::WatchRequest request_;

  // Under mutex().
  v1::WatchResponse response_;
  std::optional<keys::WatchSession> session_;  // Until the stream is over.
  bool read_after_write_ = false;
  bool just_judged_ = false;  // The caller, by the message that is answered now.
};

WatchStreams::WatchStreams(const Dependencies& dependencies, size_t limit)
    : dependencies_(dependencies),
      registry_(limit),
      subscribes_(kSubscribesPerSecond, kSubscribesAtOnce, kSubscribers),
      shared_(std::make_shared<Shared>()),
      writer_([this] { Work(); }) {}

WatchStreams::~WatchStreams() {
  {
    const std::lock_guard lock(shared_->mutex);
    shared_->stopping = true;
  }
  shared_->wake.notify_one();
  writer_.join();
}

std::shared_ptr<StreamHandler> WatchStreams::Open(StreamCall& call) {
  const auto stream = std::make_shared<Stream>(*this, call);
  registry_.Open(stream);
  return stream;
}

void WatchStreams::StartDraining() {
  {
    const std::lock_guard lock(shared_->mutex);
    shared_->draining_since = std::chrono::steady_clock::now();
  }
  shared_->wake.notify_one();
  registry_.StartDraining();
}

void WatchStreams::Work() {
  auto swept_at = std::chrono::steady_clock::now();
  std::vector<std::shared_ptr<Stream>> ready;
  std::unique_lock lock(shared_->mutex);
  while (!shared_->stopping) {
    auto sweep_at = swept_at + kSweepEvery;
    std::optional<std::chrono::steady_clock::time_point> over_at;
    if (shared_->draining_since.has_value()) over_at = *shared_->draining_since + kDrainGrace;
    if (over_at.has_value() && swept_at < *over_at) sweep_at = std::min(sweep_at, *over_at);
    if (shared_->ready.empty()) shared_->wake.wait_until(lock, sweep_at);
    ready.swap(shared_->ready);
    lock.unlock();
    for (const std::shared_ptr<Stream>& stream : ready) stream->Pump();
    ready.clear();  // Without the lock: a stream may end with the last reference to it.
    const auto now = std::chrono::steady_clock::now();
    if (now >= sweep_at) {
      swept_at = now;
      registry_.Sweep(dependencies_.clock.BootNow(), /*over=*/over_at.has_value() && now >= *over_at);
    }
    lock.lock();
  }
}

}  // namespace latchkey::rpc
