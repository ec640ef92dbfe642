#include "server/rpc/verify/watch_stream.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "client/core/resource_names.h"
#include "server/base/errors.h"
#include "server/model/built_in_roles.h"
#include "server/rpc/call/caller.h"
#include "server/rpc/call/status_conversion.h"
#include "server/rpc/transport/per_caller_limit.h"
#include "server/rpc/verify/verify_requests.h"
#include "server/rpc/verify/watch_messages.h"

namespace latchkey::rpc {
namespace {

constexpr Method kWatch = {"latchkey.v1.KeyVerify/Watch", keys::kVerify, false};
constexpr absl::Duration kCallerPatience = absl::Seconds(2);
constexpr absl::Duration kLimitRetryAfter = absl::Seconds(1);
constexpr auto kSweepEvery = std::chrono::seconds(1);
constexpr auto kDrainGrace = std::chrono::seconds(1);

}  // namespace

// What streams, hub and writer share.
struct WatchStreams::Shared {
  explicit Shared(size_t places_each) : places(places_each) {}

  void Schedule(std::shared_ptr<Stream> stream) {
    {
      const std::lock_guard<std::mutex> lock(mutex);
      ready.push_back(std::move(stream));
    }
    wake.notify_one();
  }

  std::mutex mutex;
  std::condition_variable wake;
  std::vector<std::shared_ptr<Stream>> ready;  // Those with something to write.
  absl::flat_hash_set<Stream*> open;
  std::optional<std::chrono::steady_clock::time_point> draining_since;
  bool stopping = false;
  PerCallerLimit places;
};

// Lives until OnDone, and until nobody wakes it any more. Like a StreamVerify stream it finishes only when none of its
// own callbacks is under way.
class WatchStreams::Stream final : public Reactor, public std::enable_shared_from_this<Stream> {
 public:
  Stream(const Dependencies& parts, std::shared_ptr<Shared> shared, grpc::CallbackServerContext& context)
      : dependencies_(parts),
        shared_(std::move(shared)),
        context_(context),
        caller_(context, kWatch, parts.verifier, parts.security_log),
        session_(std::in_place,
                 keys::WatchSession::Dependencies{
                     .hub = parts.hub, .index = parts.index, .follower = parts.follower, .clock = parts.clock}) {}

  // `refused`: why it may not even begin.
  void Begin(const absl::Status& refused) {
    self_ = shared_from_this();
    if (!refused.ok()) {
      End(refused);
      return;
    }
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (end_.has_value()) return;
      ++under_way_;
    }
    JudgeCaller([this](const absl::Status& known) {
      const absl::Status admitted = known.ok() ? AcquirePlace() : known;
      const std::lock_guard<std::mutex> lock(mutex_);
      --under_way_;
      if (!admitted.ok()) EndLocked(admitted);
      ReadLocked();
      PumpLocked();
    });
  }

  void OnReadDone(bool ok) override {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (!ok) EndLocked(context_.IsCancelled() ? absl::CancelledError("cancelled") : absl::OkStatus());
      if (end_.has_value()) {
        PumpLocked();
        return;
      }
      session_->NoteHeard();
      ++under_way_;
    }
    JudgeCaller([this](const absl::Status& known) { Take(known); });
  }

  void OnWriteDone(bool ok) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    writing_ = false;
    if (!ok) EndLocked(absl::CancelledError("cancelled"));
    if (read_after_write_) {
      read_after_write_ = false;
      ReadLocked();
    }
    PumpLocked();
  }

  void OnCancel() override { End(absl::CancelledError("cancelled")); }

  void OnDone() override {
    {
      // Unsubscribed here, not when the last who wakes it lets go: the hub must not wait for a client that is gone.
      const std::lock_guard<std::mutex> lock(mutex_);
      session_.reset();
    }
    if (!place_of_.empty()) shared_->places.Release(place_of_);
    {
      const std::lock_guard<std::mutex> lock(shared_->mutex);
      shared_->open.erase(this);
    }
    const std::shared_ptr<Stream> last = std::move(self_);
  }

  // Writes what there is to write.
  void Pump() {
    const std::lock_guard<std::mutex> lock(mutex_);
    PumpLocked();
  }

  void Drain() {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (finished_) return;
    session_->StartDraining();
    PumpLocked();
  }

  // Called every now and then. `over`: the time to end by itself is up.
  void Sweep(bool over) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (finished_) return;
    if (end_.has_value()) {
      // It ended a sweep ago. A client that does not read would keep the write, and so the stream, for ever.
      if (writing_) context_.TryCancel();
      return;
    }
    if (over) EndLocked(errors::ShuttingDown());
    session_->CheckLiveness();
    if (!session_->ended().ok()) EndLocked(session_->ended());
    PumpLocked();
  }

 private:
  // Of the caller, who is known by now.
  absl::Status AcquirePlace() {
    const std::string& kid = caller_.principal().kid;
    if (!shared_->places.Acquire(kid)) return errors::WorkersBusy(kLimitRetryAfter);
    place_of_ = kid;
    return absl::OkStatus();
  }

  void End(const absl::Status& status) {
    const std::lock_guard<std::mutex> lock(mutex_);
    EndLocked(status);
    PumpLocked();
  }

  // The caller's key as it is now: it may have been revoked since the last message.
  template <typename Then>
  void JudgeCaller(Then then) {
    caller_.Judge(kCallerPatience, shared_from_this(), std::move(then));
  }

  // The message in request_. A caller who can't be judged now is no bad caller: the stream stays, so that Invalidates
  // go on and the client's cache is whole when the lease returns; only no time is lent to it meanwhile.
  void Take(const absl::Status& known) {
    const std::lock_guard<std::mutex> lock(mutex_);
    absl::Status status = known.ok() || !Caller::IsRefusal(known) ? absl::OkStatus() : known;
    if (status.ok()) status = session_->subscribed() ? NotePingLocked(known.ok()) : SubscribeLocked();
    --under_way_;
    if (!status.ok()) EndLocked(status);
    PumpLocked();
  }

  absl::Status SubscribeLocked() {
    absl::StatusOr<Subscription> wanted = SubscriptionOf(request_);
    if (!wanted.ok()) return wanted.status();
    const std::string& own = caller_.principal().organization;
    for (const std::string& organization : wanted->organizations) {
      if (!caller_.principal().ActsOn(organization)) return errors::FieldNotSupported("subscribe.organizations");
    }
    if (wanted->organizations.empty() && own != core::kSystemOrganization) wanted->organizations = {own};
    return session_->Subscribe(std::move(wanted->organizations), wanted->resume,
                               [shared = shared_, weak = weak_from_this()] {
                                 if (std::shared_ptr<Stream> stream = weak.lock()) shared->Schedule(std::move(stream));
                               });
  }

  absl::Status NotePingLocked(bool may_lend) {
    const absl::StatusOr<Ping> ping = PingOf(request_);
    if (!ping.ok()) return ping.status();
    return session_->OnPing(ping->seq, ping->acknowledged, may_lend);
  }

  void ReadLocked() {
    if (!end_.has_value()) StartRead(&request_);
  }

  void EndLocked(const absl::Status& status) {
    if (!end_.has_value()) end_ = status;
  }

  // The next message, or the end. One write at a time; OnWriteDone comes here again.
  void PumpLocked() {
    if (finished_ || writing_) return;
    if (!end_.has_value()) WriteNextLocked();
    if (!end_.has_value() || writing_ || under_way_ > 0) return;
    finished_ = true;
    caller_.Log(*end_);
    Finish(GrpcStatusOf(*end_, caller_.id()));
  }

  void WriteNextLocked() {
    const std::optional<keys::WatchSession::Message> next = session_->Next();
    if (!session_->ended().ok()) EndLocked(session_->ended());
    if (!next.has_value()) return;
    ToProto(*next, &response_);
    read_after_write_ = response_.has_hello() || response_.has_pong();
    writing_ = true;
    StartWrite(&response_);
  }

  const Dependencies& dependencies_;
  const std::shared_ptr<Shared> shared_;
  grpc::CallbackServerContext& context_;
  Caller caller_;
  std::shared_ptr<Stream> self_;
  v1::WatchRequest request_;
  std::string place_of_;  // Whose place it takes; "" = it has none. Set at the beginning.

  std::mutex mutex_;
  v1::WatchResponse response_;
  std::optional<keys::WatchSession> session_;  // Until OnDone.
  bool writing_ = false;
  bool read_after_write_ = false;
  bool finished_ = false;
  int under_way_ = 0;  // Callbacks of ours that are running.
  std::optional<absl::Status> end_;
};

WatchStreams::WatchStreams(const Dependencies& parts, size_t limit)
    : dependencies_(parts),
      limit_(limit),
      shared_(std::make_shared<Shared>(std::max<size_t>(1, limit / 2))),
      writer_([this] { Work(); }) {}

WatchStreams::~WatchStreams() {
  {
    const std::lock_guard<std::mutex> lock(shared_->mutex);
    shared_->stopping = true;
  }
  shared_->wake.notify_one();
  writer_.join();
}

WatchStreams::Reactor* WatchStreams::Open(grpc::CallbackServerContext& context) {
  const auto stream = std::make_shared<Stream>(dependencies_, shared_, context);
  absl::Status refused;
  {
    const std::lock_guard<std::mutex> lock(shared_->mutex);
    if (shared_->draining_since.has_value()) {
      refused = errors::ShuttingDown();
    } else if (shared_->open.size() >= limit_) {
      refused = errors::WorkersBusy(kLimitRetryAfter);
    }
    shared_->open.insert(stream.get());
  }
  stream->Begin(refused);
  return stream.get();
}

void WatchStreams::StartDraining() {
  std::vector<std::shared_ptr<Stream>> streams;
  {
    const std::lock_guard<std::mutex> lock(shared_->mutex);
    shared_->draining_since = std::chrono::steady_clock::now();
    for (Stream* stream : shared_->open) streams.push_back(stream->shared_from_this());
  }
  shared_->wake.notify_one();
  for (const std::shared_ptr<Stream>& stream : streams) stream->Drain();
}

void WatchStreams::Work() {
  auto swept_at = std::chrono::steady_clock::now();
  std::vector<std::shared_ptr<Stream>> ready;
  std::vector<std::shared_ptr<Stream>> all;
  std::unique_lock<std::mutex> lock(shared_->mutex);
  while (!shared_->stopping) {
    auto sweep_at = swept_at + kSweepEvery;
    std::optional<std::chrono::steady_clock::time_point> over_at;
    if (shared_->draining_since.has_value()) over_at = *shared_->draining_since + kDrainGrace;
    if (over_at.has_value() && swept_at < *over_at) sweep_at = std::min(sweep_at, *over_at);
    if (shared_->ready.empty()) shared_->wake.wait_until(lock, sweep_at);
    ready.swap(shared_->ready);
    const auto now = std::chrono::steady_clock::now();
    const bool over = over_at.has_value() && now >= *over_at;
    if (now >= sweep_at) {
      swept_at = now;
      for (Stream* stream : shared_->open) all.push_back(stream->shared_from_this());
    }
    lock.unlock();
    for (const std::shared_ptr<Stream>& stream : ready) stream->Pump();
    if (!all.empty()) {
      for (const std::shared_ptr<Stream>& stream : all) stream->Sweep(over);
    }
    // Without the lock: a stream may end with the last reference to it.
    ready.clear();
    all.clear();
    lock.lock();
  }
}

}  // namespace latchkey::rpc
