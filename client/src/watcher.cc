#include "client/src/watcher.h"

#include <algorithm>
#include <utility>

#include "client/src/convert.h"

namespace latchkey::client {
namespace {

constexpr absl::Duration kPatienceForHello = absl::Seconds(3);
constexpr absl::Duration kLongestInterval = absl::Seconds(1);
constexpr int kPingsPerStaleness = 5;
constexpr double kSilentPings = 2.5;
// Acknowledgements let a revocation return early; more of them than this would only cost.
constexpr absl::Duration kBetweenExtraPings = absl::Milliseconds(50);
constexpr absl::Duration kShortestInterval = absl::Milliseconds(10);
constexpr absl::Duration kPingGrid = absl::Milliseconds(20);

std::vector<std::string> Strings(const google::protobuf::RepeatedPtrField<std::string>& strings) {
  return {strings.begin(), strings.end()};
}

// At most `interval`: until the last point of a grid that is the same for every client whose wall clock is right. A
// server that a thousand clients ping is woken fifty times a second then, not a thousand. Nothing but that hangs on the
// wall clock.
absl::Duration UntilNextPing(absl::Duration interval, absl::Time wall_now) {
  if (interval <= 2 * kPingGrid) return interval;
  return interval - absl::Nanoseconds(absl::ToUnixNanos(wall_now + interval) % absl::ToInt64Nanoseconds(kPingGrid));
}

}  // namespace

Watcher::Watcher(LeaseCache& cache, const core::Clock& clock, Timers& timers, Open open,
                 std::shared_ptr<VerifierObserver> observer, Events events, Options options)
    : cache_(cache),
      clock_(clock),
      timers_(timers),
      open_(std::move(open)),
      observer_(observer != nullptr ? std::move(observer) : std::make_shared<VerifierObserver>()),
      events_(std::move(events)),
      options_(std::move(options)),
      backoff_(options_.seed),
      interval_(kLongestInterval) {}

Watcher::~Watcher() = default;

void Watcher::Start() {
  timers_.Post([this] { Connect(); });
}

void Watcher::Stop(std::function<void()> stopped) {
  timers_.Post([this, stopped = std::move(stopped)]() mutable {
    stopping_ = true;
    stopped_ = std::move(stopped);
    ++era_;
    for (const auto& stream : streams_) stream->Cancel();
    if (streams_.empty()) stopped_();
  });
}

void Watcher::Connect() {
  if (stopping_) return;
  const uint64_t era = ++era_;
  greeted_ = false;
  interval_ = kLongestInterval;
  const uint64_t number = cache_.BeginStream();
  streams_.push_back(
      open_(number, cache_.ResumeFrom(),
            {.heard = [this](WatchConnection& stream, const v1::WatchResponse& message) { Heard(stream, message); },
             .gone = [this](WatchConnection& stream, const absl::Status& status) { Gone(stream, status); }}));
  present_ = streams_.back().get();
  heard_at_ = clock_.BootNow();
  timers_.After(interval_, [this, era] { CheckStream(era); });
}

void Watcher::ConnectLater() {
  present_ = nullptr;
  const uint64_t era = ++era_;
  timers_.After(backoff_.Next(), [this, era] {
    if (era == era_) Connect();
  });
  // The lease may end meanwhile, and nobody else looks.
  timers_.After(kLongestInterval, [this, era] {
    if (era == era_) NoteLease();
  });
}

void Watcher::Heard(WatchConnection& stream, const v1::WatchResponse& message) {
  if (&stream != present_) return;
  if (greeted_ == message.has_hello()) return Replace(absl::InternalError("the server does not begin with Hello"));
  switch (message.message_case()) {
    case v1::WatchResponse::kHello:
      return Hello(stream, message.hello());
    case v1::WatchResponse::kInvalidate:
      return Invalidate(stream, message.invalidate());
    case v1::WatchResponse::kPong:
      return Pong(stream, message.pong());
    case v1::WatchResponse::kDrain:
      return Drain();
    case v1::WatchResponse::MESSAGE_NOT_SET:
      break;
  }
  // It may be a change that this build can't read.
  Replace(absl::InternalError("the server sent a message that this client does not know"));
}

void Watcher::Hello(WatchConnection& stream, const v1::WatchResponse::Hello& hello) {
  const auto from = core::RevisionToken::Decode(hello.sub_revision().token());
  const absl::Duration max_staleness = ToDuration(hello.max_staleness());
  if (!from.has_value() || max_staleness <= absl::ZeroDuration()) {
    return Replace(absl::InternalError("the server's Hello can't be read"));
  }
  const bool resumed = cache_.Hello(stream.cache_stream(), *from, hello.resumed(), max_staleness, hello.history());
  greeted_ = true;
  heard_at_ = clock_.BootNow();
  max_staleness_ns_.store(absl::ToInt64Nanoseconds(max_staleness), std::memory_order_relaxed);
  interval_ = std::clamp(max_staleness / kPingsPerStaleness, kShortestInterval, kLongestInterval);
  connects_.Add();
  if (resumed) resumes_.Add();
  watching_.store(true, std::memory_order_relaxed);
  for (const auto& other : streams_) {
    if (other.get() != &stream) other->Cancel();
  }
  // An era of its own: the tick that waited for this would be too slow for a short staleness.
  CheckStream(++era_);
  events_.up(stream.channel());
  observer_->OnWatchUp(resumed);
}

void Watcher::Invalidate(WatchConnection& stream, const v1::WatchResponse::Invalidate& what) {
  const auto revision = core::RevisionToken::Decode(what.revision().token());
  if (!revision.has_value()) return Replace(absl::InternalError("the server's Invalidate can't be read"));
  cache_.Invalidate(stream.cache_stream(), {.revision = *revision,
                                            .key_ids = Strings(what.key_ids()),
                                            .organizations = Strings(what.organizations()),
                                            .roles = Strings(what.roles()),
                                            .all = what.all()});
  invalidations_.Add();
  PingSoon();
}

void Watcher::Pong(WatchConnection& stream, const v1::WatchResponse::Pong& pong) {
  const auto revision = core::RevisionToken::Decode(pong.revision().token());
  const std::optional<core::BootTime> sent_at = stream.TakeSentAt(pong.echo_seq());
  if (!revision.has_value() || !sent_at.has_value()) {
    return Replace(absl::InternalError("the server's Pong answers nothing"));
  }
  const absl::Duration remaining = ToDuration(pong.remaining());
  if (!cache_.Pong(stream.cache_stream(), *sent_at, *revision, remaining, pong.history())) {
    return Replace(absl::UnavailableError("the server's database is another than its Hello told, or has failed over"));
  }
  heard_at_ = clock_.BootNow();
  if (remaining > absl::ZeroDuration()) {
    lease_from_ns_.store(sent_at->nanoseconds(), std::memory_order_relaxed);
    // Not at Hello: a server that greets and hangs up would be asked twenty times a second.
    backoff_.Reset();
  }
  NoteLease();
}

void Watcher::Drain() {
  drains_.Add();
  observer_->OnDrain();
  // The old stream is left as it is: a new one's Hello ends it, or the server does.
  ConnectLater();
}

void Watcher::Gone(WatchConnection& stream, const absl::Status& status) {
  const bool was_present = &stream == present_;
  if (absl::IsUnauthenticated(status) || absl::IsPermissionDenied(status)) cache_.RefuseCaller(stream.cache_stream());
  cache_.EndStream(stream.cache_stream());
  streams_.remove_if([&stream](const auto& other) { return other.get() == &stream; });
  if (stopping_) {
    if (streams_.empty()) stopped_();
    return;
  }
  if (!was_present) return;
  OnDown(status.ok() ? absl::UnavailableError("the server has ended the stream") : status);
  ConnectLater();
}

void Watcher::Replace(const absl::Status& why) {
  present_->Cancel();
  OnDown(why);
  ConnectLater();
}

void Watcher::OnDown(const absl::Status& why) {
  breaks_.Add();
  watching_.store(false, std::memory_order_relaxed);
  events_.down();
  observer_->OnWatchDown(WithoutKey(why, options_.caller_key));
  NoteLease();
}

void Watcher::CheckStream(uint64_t era) {
  if (era != era_ || present_ == nullptr) return;
  const core::BootTime now = clock_.BootNow();
  const absl::Duration patience = greeted_ ? interval_ * kSilentPings : kPatienceForHello;
  NoteLease();
  if (now - heard_at_ > patience) {
    return Replace(absl::UnavailableError(greeted_ ? "the server has fallen silent" : "the server does not say Hello"));
  }
  if (greeted_) PingNow();
  // A silence is noticed on time only if it is looked for when it ends.
  const absl::Duration until_silent = heard_at_ + patience - now + absl::Microseconds(1);
  timers_.After(std::min(UntilNextPing(interval_, options_.wall_now()), until_silent),
                [this, era] { CheckStream(era); });
}

void Watcher::PingNow() {
  pinged_at_ = clock_.BootNow();
  present_->Ping(cache_.Applied());
}

void Watcher::PingSoon() {
  if (std::exchange(ping_is_due_, true)) return;
  const core::BootTime now = clock_.BootNow();
  const core::BootTime earliest = pinged_at_ + kBetweenExtraPings;
  // By way of the loop even when it is time: what else has been read already is applied first.
  timers_.At(std::max(now, earliest), [this] {
    ping_is_due_ = false;
    if (present_ != nullptr && greeted_ && !stopping_) PingNow();
  });
}

void Watcher::NoteLease() {
  const bool has_lease = clock_.BootNow() < cache_.lease_until();
  if (has_lease == had_lease_) return;
  had_lease_ = has_lease;
  has_lease ? observer_->OnLeaseGained() : observer_->OnLeaseLost();
}

void Watcher::AddTo(VerifierStats& stats) const {
  const core::BootTime now = clock_.BootNow();
  const core::BootTime until = cache_.lease_until();
  const absl::Duration remaining = until - now;
  const int64_t from = lease_from_ns_.load(std::memory_order_relaxed);
  stats.watch_connects = connects_.value();
  stats.watch_resumes = resumes_.value();
  stats.watch_breaks = breaks_.value();
  stats.drains = drains_.value();
  stats.invalidations = invalidations_.value();
  stats.watching = watching_.load(std::memory_order_relaxed);
  stats.max_staleness = absl::Nanoseconds(max_staleness_ns_.load(std::memory_order_relaxed));
  stats.lease_remaining = std::max(absl::ZeroDuration(), remaining);
  if (from == 0 || until == core::BootTime::Never()) return;
  stats.lease_age = now - core::BootTime::FromNanoseconds(from);
  stats.staleness = std::max(absl::ZeroDuration(), stats.max_staleness - remaining);
}

}  // namespace latchkey::client
