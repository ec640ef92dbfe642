#include "client/src/caching_verifier.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>

#include "client/src/convert.h"
#include "client/src/question.h"

namespace latchkey::client {
namespace {

// How long the verify stream may keep a question, at most: then it is asked in a call of its own too.
constexpr absl::Duration kStreamPatience = absl::Milliseconds(250);
// For the answers that a stream which is left may still bring.
constexpr absl::Duration kParting = absl::Seconds(1);
constexpr absl::Duration kLastReport = absl::Seconds(1);
constexpr absl::Duration kLeastTimeout = absl::Milliseconds(1);
// Of one asker's question, after answers that could not be believed.
constexpr int kMostRepeats = 3;

// Another server may do better. CANCELLED is what a server that is just stopping says.
bool IsWorthARetry(const absl::Status& status) {
  return absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status) || absl::IsCancelled(status);
}

bool IsUndecided(const absl::Status& status) { return IsWorthARetry(status) || absl::IsResourceExhausted(status); }

}  // namespace

// Passes everything on, and sees for itself when grace is over.
class CachingVerifier::Tap : public VerifierObserver {
 public:
  Tap(std::shared_ptr<VerifierObserver> to, std::atomic<bool>& in_grace)
      : to_(to != nullptr ? std::move(to) : std::make_shared<VerifierObserver>()), in_grace_(in_grace) {}
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
  std::atomic<bool>& in_grace_;
};

CachingVerifier::CachingVerifier(Options options, std::unique_ptr<Connection> connection,
                                 Watcher::MakeChannel make_channel)
    : timeout_(options.timeout),
      cache_(options.cache, clock_),
      loop_(std::make_unique<EventLoop>(clock_)),
      connection_(std::move(connection)),
      observer_(std::make_shared<Tap>(std::move(options.observer), in_grace_)) {
  if (options.report_usage) {
    usage_ = std::make_unique<UsageReporter>(
        *loop_, options.cache.capacity, options.usage_interval,
        [this](const v1::ReportUsageRequest& report, absl::Duration timeout, std::function<void(absl::Status)> done) {
          connection_->ReportUsage(report, timeout, std::move(done));
        });
  }
  watcher_ = std::make_unique<Watcher>(
      cache_, clock_, *loop_, connection_->caller_key(), std::move(make_channel), observer_,
      Watcher::Events{.up = [this](const std::shared_ptr<grpc::Channel>& channel) { Up(channel); },
                      .down = [this] { Down(); }});
  watcher_->Start();
}

CachingVerifier::~CachingVerifier() {
  {
    const absl::MutexLock lock(&mutex_);
    mutex_.Await(absl::Condition(
        +[](int* askers) { return *askers == 0; }, &askers_));
  }
  loop_->Post([this] {
    stopping_ = true;
    Down();
  });
  watcher_->Stop([this] {
    watcher_stopped_ = true;
    NoteStopped();
  });
  stopped_.WaitForNotification();
  if (usage_ != nullptr) usage_->Finish(kLastReport);
  connection_.reset();
  loop_.reset();
}

std::optional<LeaseCache::Hit> CachingVerifier::Recall(std::string_view key_string, const VerifyParams& params) {
  std::optional<LeaseCache::Hit> hit = cache_.Find(key_string, params);
  if (hit.has_value()) {
    hits_.Add();
    if (usage_ != nullptr) usage_->Count(hit->identity, static_cast<Decision>(hit->decision));
  }
  return hit;
}

Answer CachingVerifier::Verify(std::string_view key_string, const VerifyParams& params) {
  if (absl::Status checked = CheckParams(params); !checked.ok()) return Answer::Undecided(std::move(checked));
  // Before the string is parsed: what is remembered was well-formed.
  if (std::optional<LeaseCache::Hit> hit = Recall(key_string, params)) return ToAnswer(*std::move(hit));
  if (std::optional<Answer> answer = AnswerOffline(key_string, params)) return *std::move(answer);
  Answer answer;
  absl::Notification answered;
  Miss(key_string, params, [&answer, &answered](Answer given) {
    answer = std::move(given);
    answered.Notify();
  });
  answered.WaitForNotification();
  return answer;
}

void CachingVerifier::VerifyAsync(std::string_view key_string, const VerifyParams& params, Callback done) {
  if (absl::Status checked = CheckParams(params); !checked.ok()) return done(Answer::Undecided(std::move(checked)));
  if (std::optional<LeaseCache::Hit> hit = Recall(key_string, params)) return done(ToAnswer(*std::move(hit)));
  if (std::optional<Answer> answer = AnswerOffline(key_string, params)) return done(*std::move(answer));
  Miss(key_string, params, std::move(done));
}

bool CachingVerifier::WaitUntilConnected(absl::Duration patience) { return connection_->WaitUntilConnected(patience); }

void CachingVerifier::Miss(std::string_view key_string, const VerifyParams& params, Callback done) {
  misses_.Add();
  Askers askers(1);
  askers[0].required_permissions = params.required_permissions;
  askers[0].client_ip = std::string(params.client_ip);
  askers[0].done = std::move(done);
  const LeaseCache::Question question = cache_.Ask(key_string);
  askers[0].deadline = question.asked_at + std::min(timeout_, params.timeout);
  std::shared_ptr<StopHook> hook;
  if (params.stop.stop_possible()) askers[0].stop_hook = hook = std::make_shared<StopHook>();
  {
    const absl::MutexLock lock(&mutex_);
    askers_ += hook == nullptr ? 1 : 2;  // The second: this call itself, until the hook is in its place.
  }
  Board(core::Secret(std::string(key_string)), question, std::move(askers), Way::kStreamIfAny);
  if (hook == nullptr) return;
  // Only now is there somebody to be found. Runs at once if the stop was requested before.
  hook->emplace(params.stop, [this, digest = question.digest, which = hook.get()] { Withdraw(digest, which); });
  hook = nullptr;
  Leave(1);
}

void CachingVerifier::Withdraw(const core::Digest128& digest, const StopHook* hook) {
  Askers withdrawn;
  {
    const absl::MutexLock lock(&mutex_);
    const auto found = flights_.find(digest);
    if (found == flights_.end()) return;
    const FlightPtr flight = found->second;
    const auto asker = std::find_if(flight->askers.begin(), flight->askers.end(),
                                    [hook](const Asker& one) { return one.stop_hook.get() == hook; });
    if (asker == flight->askers.end()) return;  // It is being answered.
    withdrawn.push_back(std::move(*asker));
    flight->askers.erase(asker);
    if (flight->askers.empty()) {
      Land(*flight);
    } else {
      Arm(flight);
    }
  }
  undecided_.Add();
  withdrawn[0].done(Answer::Undecided(absl::CancelledError("the question was withdrawn")));
  withdrawn[0].LetGo();
  Leave(1);
}

void CachingVerifier::Board(core::Secret key, const LeaseCache::Question& question, Askers askers, Way way,
                            std::string min_revision) {
  FlightPtr flight;
  {
    const absl::MutexLock lock(&mutex_);
    FlightPtr& under_way = flights_[question.digest];
    if (under_way != nullptr) {
      coalesced_.Add(static_cast<int64_t>(askers.size()));
      for (Asker& asker : askers) {
        asker.joined = true;
        under_way->askers.push_back(std::move(asker));
      }
      return Arm(under_way);
    }
    under_way = flight = std::make_shared<Flight>(std::move(key), question, std::move(min_revision));
    flight->askers = std::move(askers);
  }
  Send(flight, way);
}

void CachingVerifier::Send(const FlightPtr& flight, Way way) {
  std::shared_ptr<VerifyStream> stream;
  {
    const absl::MutexLock lock(&mutex_);
    if (flight->over) return;
    ++flight->questions;
    if (way == Way::kStreamIfAny) stream = stream_;
    if (stream != nullptr) {
      const core::BootTime now = clock_.BootNow();
      for (const Asker& asker : flight->askers) flight->deadline = std::max(flight->deadline, asker.deadline);
      flight->stream = stream;
      flight->streamed_at = now;
      flight->fall_back_at = now + std::min(kStreamPatience, (flight->deadline - now) / 2);
      Arm(flight);
    }
  }
  if (stream == nullptr) return SendUnary(flight);
  if (!stream->Ask(flight)) {
    Answered(flight, {}, absl::UnavailableError("the stream is closed"), By::kBrokenStream, nullptr);
  }
}

void CachingVerifier::SendUnary(const FlightPtr& flight) {
  core::BootTime deadline;
  {
    const absl::MutexLock lock(&mutex_);
    if (flight->over) return;
    for (const Asker& asker : flight->askers) deadline = std::max(deadline, asker.deadline);
    Arm(flight);
  }
  unary_calls_.Add();
  const LeaseCache::Question question = cache_.Ask(flight->key.Expose());
  connection_->Verify(flight->key.Expose(), {}, std::max(kLeastTimeout, deadline - question.asked_at),
                      flight->min_revision,
                      [this, flight, question](absl::Status status, const v1::VerifyResponse& response) {
                        Answered(flight, question, std::move(status), By::kCall, &response);
                      });
}

void CachingVerifier::Answered(const FlightPtr& flight, const LeaseCache::Question& question, absl::Status status,
                               By by, const v1::VerifyResponse* response) {
  Askers askers;
  bool over = false;
  {
    const absl::MutexLock lock(&mutex_);
    --flight->questions;
    over = flight->over;
    if (!over) {
      // The call that was begun since has the last word.
      if (!status.ok() && by != By::kCall && flight->questions > 0) return;
      if (by == By::kBrokenStream) {
        flight->stream = nullptr;
        ++flight->questions;
      } else {
        askers = std::move(flight->askers);
        Land(*flight);
      }
    }
  }
  if (over) {
    // Too late for those who asked, but what it says counts, a denial above all.
    if (status.ok()) cache_.Learn(question, ToFact(*response), {});
    return;
  }
  if (by == By::kBrokenStream) {
    fallbacks_.Add();
    return SendUnary(flight);
  }
  Settle(*flight, question, status, response, std::move(askers));
}

void CachingVerifier::Settle(const Flight& flight, const LeaseCache::Question& question, absl::Status status,
                             const v1::VerifyResponse* response, Askers askers) {
  LeaseCache::Fact fact;
  if (absl::IsFailedPrecondition(status) && !flight.min_revision.empty()) {
    status = absl::UnavailableError("the server's history is not that of the server that is watched");
  }
  if (status.ok()) fact = ToFact(*response);
  const core::BootTime now = clock_.BootNow();
  Askers again;
  Way way = Way::kStreamIfAny;
  std::string min_revision;
  int settled = 0;
  for (Asker& asker : askers) {
    const bool in_time = asker.deadline - now > kLeastTimeout;
    absl::Status why = status;
    if (status.ok()) {
      if (std::optional<LeaseCache::Hit> hit = cache_.Learn(question, fact, asker.params())) {
        // The server has counted the one who asked it.
        if (usage_ != nullptr && asker.joined) usage_->Count(hit->identity, static_cast<Decision>(hit->decision));
        asker.done(ToAnswer(*std::move(hit)));
        asker.LetGo();
        ++settled;
        continue;
      }
      const bool covered = cache_.Covers(question, fact);
      if (in_time && asker.repeats++ < kMostRepeats) {
        // The one that answered is behind the one that is watched: it is told how far it has to be.
        if (covered) {
          way = Way::kUnary;
          min_revision = cache_.Applied().Encode();
        }
        again.push_back(std::move(asker));
        continue;
      }
      why = covered ? absl::UnavailableError("the server has not heard yet of a change that this process knows of")
                    : absl::UnavailableError("the server's answer came too late to be believed");
    } else if (in_time && IsWorthARetry(status) && !std::exchange(asker.retried, true)) {
      // A late joiner may have more time than the call had; anybody, another server.
      way = Way::kUnary;
      again.push_back(std::move(asker));
      continue;
    }
    Undecide(flight.key.Expose(), asker, why);
    ++settled;
  }
  if (!again.empty()) {
    retries_.Add();
    Board(flight.key.Clone(), flight.question, std::move(again), way, std::move(min_revision));
  }
  Leave(settled);
}

void CachingVerifier::OnTimer(const FlightPtr& flight) {
  const core::BootTime now = clock_.BootNow();
  Askers late;
  std::shared_ptr<VerifyStream> slow;
  {
    const absl::MutexLock lock(&mutex_);
    if (flight->over) return;
    flight->timer.reset();
    const auto in_time = std::partition(flight->askers.begin(), flight->askers.end(),
                                        [now](const Asker& asker) { return asker.deadline > now; });
    std::move(in_time, flight->askers.end(), std::back_inserter(late));
    flight->askers.erase(in_time, flight->askers.end());
    if (flight->askers.empty()) {
      Land(*flight);
    } else if (flight->stream != nullptr && flight->fall_back_at <= now) {
      slow = std::move(flight->stream);
      flight->stream = nullptr;
      ++flight->questions;
    }
    if (!flight->over) Arm(flight);
  }
  for (Asker& asker : late) {
    Undecide(flight->key.Expose(), asker, absl::DeadlineExceededError("no server has answered in time"));
  }
  if (slow != nullptr) {
    fallbacks_.Add();
    if (slow->IsSilentSince(flight->streamed_at)) ReplaceStream(slow);
    SendUnary(flight);
  }
  Leave(static_cast<int>(late.size()));
}

void CachingVerifier::Arm(const FlightPtr& flight) {
  core::BootTime next = flight->stream != nullptr ? flight->fall_back_at : flight->askers.front().deadline;
  for (const Asker& asker : flight->askers) next = std::min(next, asker.deadline);
  if (flight->timer.has_value()) {
    if (flight->timer->first == next) return;
    loop_->Cancel(*flight->timer);
  }
  flight->timer = loop_->At(next, [this, flight] { OnTimer(flight); });
}

void CachingVerifier::Land(Flight& flight) {
  flight.over = true;
  flight.stream = nullptr;
  if (flight.timer.has_value()) loop_->Cancel(*flight.timer);
  flight.timer.reset();
  flights_.erase(flight.question.digest);
}

void CachingVerifier::Undecide(std::string_view key_string, Asker& asker, const absl::Status& why) {
  std::optional<LeaseCache::Hit> hit;
  if (IsUndecided(why)) hit = cache_.FindInGrace(key_string, asker.params());
  if (hit.has_value()) {
    // Else it is as good as any hit: the lease has come back meanwhile.
    if (hit->in_grace) {
      grace_uses_.Add();
      if (!in_grace_.exchange(true)) loop_->Post([observer = observer_] { observer->OnGraceBegan(); });
    }
    if (usage_ != nullptr) usage_->Count(hit->identity, static_cast<Decision>(hit->decision));
    asker.done(ToAnswer(*std::move(hit)));
  } else {
    undecided_.Add();
    asker.done(Answer::Undecided(why));
  }
  asker.LetGo();
}

void CachingVerifier::Leave(int askers) {
  const absl::MutexLock lock(&mutex_);
  askers_ -= askers;
}

void CachingVerifier::Up(const std::shared_ptr<grpc::Channel>& channel) {
  if (stopping_) return;
  stream_channel_ = channel;
  stream_backoff_.Reset();
  OpenStream();
}

void CachingVerifier::Down() {
  stream_channel_ = nullptr;
  if (const std::shared_ptr<VerifyStream> stream = SwapStream(nullptr)) stream->Close(kParting);
}

void CachingVerifier::OpenStream() {
  ++open_streams_;
  const auto stream = VerifyStream::Open(
      stream_channel_, connection_->caller_key(), cache_, clock_, *loop_,
      {.answered =
           [this](const FlightPtr& flight, const LeaseCache::Question& question, absl::Status status,
                  bool stream_failed, const v1::VerifyResponse* response) {
             Answered(flight, question, WithoutKey(std::move(status), connection_->caller_key().Expose()),
                      stream_failed ? By::kBrokenStream : By::kStream, response);
           },
       .written =
           [this](int questions) {
             batches_.Add();
             batched_.Add(questions);
           },
       .gone = [this](VerifyStream* gone, const absl::Status&) { StreamGone(gone); }});
  if (const std::shared_ptr<VerifyStream> before = SwapStream(stream)) before->Close(kParting);
}

void CachingVerifier::StreamGone(VerifyStream* stream) {
  --open_streams_;
  bool was_in_use = false;
  {
    const absl::MutexLock lock(&mutex_);
    was_in_use = stream_.get() == stream;
    if (was_in_use) stream_ = nullptr;
  }
  if (was_in_use) {
    stream_breaks_.Add();
    loop_->After(stream_backoff_.Next(), [this] {
      if (stream_channel_ == nullptr) return;
      {
        const absl::MutexLock lock(&mutex_);
        if (stream_ != nullptr) return;
      }
      OpenStream();
    });
  }
  NoteStopped();
}

void CachingVerifier::ReplaceStream(const std::shared_ptr<VerifyStream>& stream) {
  {
    const absl::MutexLock lock(&mutex_);
    if (stream_ != stream) return;
    stream_ = nullptr;
  }
  stream_breaks_.Add();
  if (stream_channel_ != nullptr) OpenStream();
  stream->Abort();
}

std::shared_ptr<VerifyStream> CachingVerifier::SwapStream(std::shared_ptr<VerifyStream> stream) {
  const absl::MutexLock lock(&mutex_);
  stream_.swap(stream);
  return stream;
}

void CachingVerifier::NoteStopped() {
  if (stopping_ && watcher_stopped_ && open_streams_ == 0) stopped_.Notify();
}

VerifierStats CachingVerifier::Stats() const {
  VerifierStats stats;
  stats.hits = hits_.value();
  stats.misses = misses_.value();
  stats.coalesced = coalesced_.value();
  stats.grace_uses = grace_uses_.value();
  stats.undecided = undecided_.value();
  stats.batches = batches_.value();
  stats.batched = batched_.value();
  stats.unary_calls = unary_calls_.value();
  stats.fallbacks = fallbacks_.value();
  stats.retries = retries_.value();
  stats.stream_breaks = stream_breaks_.value();
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
