#include "client/src/caching_verifier.h"

#include <atomic>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "client/src/convert.h"
#include "client/src/offline_answer.h"
#include "client/src/watch_stream.h"

namespace latchkey::client {
namespace {

constexpr absl::Duration kLastReport = absl::Seconds(1);

}  // namespace

// Passes everything on, and tells of the first use of grace since a lease was gained.
class CachingVerifier::GraceObserver final : public VerifierObserver {
 public:
  explicit GraceObserver(std::shared_ptr<VerifierObserver> to)
      : to_(to != nullptr ? std::move(to) : std::make_shared<VerifierObserver>()) {}

  // True: it is the first. Any thread.
  bool NoteUse() { return !in_grace_.exchange(true); }

  void OnWatchUp(bool resumed) override { to_->OnWatchUp(resumed); }
  void OnWatchDown(const absl::Status& why) override { to_->OnWatchDown(why); }
  void OnDrain() override { to_->OnDrain(); }
  void OnLeaseLost() override { to_->OnLeaseLost(); }
  void OnLeaseGained() override {
    in_grace_ = false;
    to_->OnLeaseGained();
  }
  void OnGraceBegan() override { to_->OnGraceBegan(); }

 private:
  const std::shared_ptr<VerifierObserver> to_;
  std::atomic<bool> in_grace_{false};
};

CachingVerifier::CachingVerifier(Options options, std::unique_ptr<Connection> connection, MakeChannel make_channel)
    : cache_(options.cache, clock_),
      loop_(std::make_unique<EventLoop>(clock_)),
      connection_(std::move(connection)),
      observer_(std::make_shared<GraceObserver>(std::move(options.observer))),
      pending_(PendingDependencies(), options.timeout),
      streams_(StreamDependencies()) {
  if (options.report_usage) {
    usage_ = std::make_unique<UsageReporter>(
        *loop_, options.cache.capacity, options.usage_interval,
        [this](const v1::ReportUsageRequest& report, absl::Duration timeout, std::function<void(absl::Status)> done) {
          connection_->ReportUsage(report, timeout, std::move(done));
        });
  }
  watcher_ = std::make_unique<Watcher>(
      cache_, clock_, *loop_,
      [this, make_channel = std::move(make_channel)](
          uint64_t cache_stream, const std::optional<core::RevisionToken>& resume, WatchConnection::Events events) {
        return std::make_unique<WatchStream>(make_channel(), connection_->caller_key(), clock_, *loop_, cache_stream,
                                             resume, std::move(events));
      },
      observer_,
      Watcher::Events{.up = [this](const std::shared_ptr<grpc::Channel>& channel) { streams_.OnWatchUp(channel); },
                      .down = [this] { streams_.OnWatchDown(); }},
      Watcher::Options{.caller_key = connection_->caller_key().Expose(), .wall_now = absl::Now});
  watcher_->Start();
}

// The order is the README's: who waits for an answer, then streams, then the last report, calls and timers.
CachingVerifier::~CachingVerifier() {
  pending_.WaitUntilNoWaiters();
  absl::Notification streams_stopped;
  absl::Notification watcher_stopped;
  loop_->Post([this, &streams_stopped] { streams_.Stop([&streams_stopped] { streams_stopped.Notify(); }); });
  watcher_->Stop([&watcher_stopped] { watcher_stopped.Notify(); });
  watcher_stopped.WaitForNotification();
  streams_stopped.WaitForNotification();
  if (usage_ != nullptr) usage_->Finish(kLastReport);
  connection_.reset();
  loop_.reset();
}

PendingVerifications::Dependencies CachingVerifier::PendingDependencies() {
  return {.cache = cache_,
          .clock = clock_,
          .timers = *loop_,
          .stream = [this] { return streams_.current(); },
          .replace_stream = [this](const std::shared_ptr<BatchSender>& stuck) { streams_.Replace(stuck); },
          .call =
              [this](std::string_view key_string, absl::Duration timeout, const std::string& min_revision,
                     std::function<void(PendingVerifications::StatusOrAnswer)> done) {
                connection_->Verify(key_string, {}, timeout, min_revision,
                                    [done = std::move(done)](absl::Status status, const v1::VerifyResponse& response) {
                                      if (!status.ok()) return done(std::move(status));
                                      done(ToServerAnswer(response));
                                    });
              },
          .count_use =
              [this](const LeaseCache::Hit& hit) {
                if (usage_ != nullptr) usage_->Count(hit.identity, static_cast<Decision>(hit.decision));
              },
          .on_grace_use =
              [this] {
                if (observer_->NoteUse()) loop_->Post([observer = observer_] { observer->OnGraceBegan(); });
              }};
}

VerifyStreamHolder::Dependencies CachingVerifier::StreamDependencies() {
  return {.cache = cache_,
          .clock = clock_,
          .loop = *loop_,
          .caller_key = connection_->caller_key(),
          .on_answer = [this](const std::shared_ptr<PendingVerification>& pending,
                              const LeaseCache::PendingRequest& request, PendingVerifications::StatusOrAnswer answer,
                              PendingVerifications::AnswerSource source) {
            pending_.OnAnswer(pending, request, std::move(answer), source);
          }};
}

std::optional<LeaseCache::Hit> CachingVerifier::Lookup(const core::PresentedKey& key, const VerifyParams& params) {
  std::optional<LeaseCache::Hit> hit = cache_.Find(key, params);
  if (hit.has_value()) {
    hits_.Add();
    if (usage_ != nullptr) usage_->Count(hit->identity, static_cast<Decision>(hit->decision));
  }
  return hit;
}

Answer CachingVerifier::Verify(std::string_view key_string, const VerifyParams& params) {
  if (absl::Status checked = CheckParams(params); !checked.ok()) return Answer::Undecided(std::move(checked));
  const core::PresentedKey key(key_string);
  // Before the string is parsed: what is remembered was well-formed.
  if (std::optional<LeaseCache::Hit> hit = Lookup(key, params)) return ToAnswer(*std::move(hit));
  if (std::optional<Answer> answer = AnswerOffline(key, params)) return *std::move(answer);
  misses_.Add();
  Answer answer;
  absl::Notification answered;
  pending_.Verify(key, params, [&answer, &answered](Answer given) {
    answer = std::move(given);
    answered.Notify();
  });
  answered.WaitForNotification();
  return answer;
}

void CachingVerifier::VerifyAsync(std::string_view key_string, const VerifyParams& params, Callback done) {
  if (absl::Status checked = CheckParams(params); !checked.ok()) return done(Answer::Undecided(std::move(checked)));
  const core::PresentedKey key(key_string);
  if (std::optional<LeaseCache::Hit> hit = Lookup(key, params)) return done(ToAnswer(*std::move(hit)));
  if (std::optional<Answer> answer = AnswerOffline(key, params)) return done(*std::move(answer));
  misses_.Add();
  pending_.Verify(key, params, std::move(done));
}

bool CachingVerifier::WaitUntilConnected(absl::Duration patience) { return connection_->WaitUntilConnected(patience); }

VerifierStats CachingVerifier::Stats() const {
  VerifierStats stats;
  stats.hits = hits_.value();
  stats.misses = misses_.value();
  pending_.AddTo(stats);
  streams_.AddTo(stats);
  if (usage_ != nullptr) {
    stats.uses_reported = usage_->reported();
    stats.uses_dropped = usage_->dropped();
  }
  stats.entries = static_cast<int64_t>(cache_.size());
  stats.negative_entries = static_cast<int64_t>(cache_.negative_count());
  stats.memory_bytes = static_cast<int64_t>(cache_.memory_bytes() + (usage_ == nullptr ? 0 : usage_->memory_bytes()));
  stats.evictions = cache_.evictions();
  watcher_->AddTo(stats);
  return stats;
}

}  // namespace latchkey::client
