#include "client/src/pending_verifications.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "client/src/convert.h"

namespace latchkey::client {
namespace {

// How long a stream may keep a request, at most: then it is sent in a call of its own too.
constexpr absl::Duration kStreamPatience = absl::Milliseconds(250);
constexpr absl::Duration kLeastTimeout = absl::Milliseconds(1);
// Of one waiter's request, after answers that could not be believed.
constexpr int kMostRepeats = 3;

// Another server may do better. CANCELLED is what a server that is just stopping says.
bool IsWorthARetry(const absl::Status& status) {
  return absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status) || absl::IsCancelled(status);
}

bool IsUndecided(const absl::Status& status) { return IsWorthARetry(status) || absl::IsResourceExhausted(status); }

}  // namespace

PendingVerifications::PendingVerifications(Dependencies dependencies, absl::Duration timeout)
    : deps_(std::move(dependencies)), timeout_(timeout) {}

PendingVerifications::~PendingVerifications() = default;

void PendingVerifications::Verify(const core::PresentedKey& key, const VerifyParams& params, Verifier::Callback done) {
  if (params.stop.stop_requested()) {
    undecided_.Add();
    return done(Answer::Undecided(absl::CancelledError("the question was withdrawn")));
  }
  Waiters waiters(1);
  waiters[0].required_permissions = params.required_permissions;
  waiters[0].client_ip = std::string(params.client_ip);
  waiters[0].done = std::move(done);
  const LeaseCache::PendingRequest request = deps_.cache.BeginRequest(key);
  waiters[0].deadline = request.asked_at + std::min(timeout_, params.timeout);
  std::shared_ptr<Waiter::StopHook> hook;
  if (params.stop.stop_possible()) waiters[0].stop_hook = hook = std::make_shared<Waiter::StopHook>();
  {
    const absl::MutexLock lock(&mutex_);
    waiters_ += hook == nullptr ? 1 : 2;  // The second: this call itself, until the hook is in its place.
  }
  JoinOrStart(core::Secret(std::string(key.text())), request, std::move(waiters), Transport::kStreamIfAny);
  if (hook == nullptr) return;
  // Only now is there somebody to be found. Runs at once if the stop was requested before.
  hook->emplace(params.stop, [this, digest = request.digest, which = hook.get()] { Withdraw(digest, which); });
  hook = nullptr;
  ReleaseWaiters(1);
}

void PendingVerifications::Withdraw(const core::Digest128& digest, const Waiter::StopHook* hook) {
  Waiters withdrawn;
  {
    const absl::MutexLock lock(&mutex_);
    const auto found = pending_.find(digest);
    if (found == pending_.end()) return;
    const PendingPtr pending = found->second;
    const auto waiter = std::find_if(pending->waiters.begin(), pending->waiters.end(),
                                     [hook](const Waiter& one) { return one.stop_hook.get() == hook; });
    if (waiter == pending->waiters.end()) return;  // It is being answered.
    withdrawn.push_back(std::move(*waiter));
    pending->waiters.erase(waiter);
    if (pending->waiters.empty()) {
      Remove(*pending);
    } else {
      ScheduleTimer(pending);
    }
  }
  undecided_.Add();
  withdrawn[0].done(Answer::Undecided(absl::CancelledError("the question was withdrawn")));
  withdrawn[0].ReleaseCallbacks();
  ReleaseWaiters(1);
}

void PendingVerifications::JoinOrStart(core::Secret key, const LeaseCache::PendingRequest& request, Waiters waiters,
                                       Transport transport, std::string min_revision) {
  PendingPtr pending;
  {
    const absl::MutexLock lock(&mutex_);
    PendingPtr& under_way = pending_[request.digest];
    if (under_way != nullptr) {
      coalesced_.Add(static_cast<int64_t>(waiters.size()));
      for (Waiter& waiter : waiters) {
        waiter.joined = true;
        under_way->waiters.push_back(std::move(waiter));
      }
      return ScheduleTimer(under_way);
    }
    under_way = pending = std::make_shared<PendingVerification>(std::move(key), request, std::move(min_revision));
    pending->waiters = std::move(waiters);
  }
  Send(pending, transport);
}

void PendingVerifications::Send(const PendingPtr& pending, Transport transport) {
  std::shared_ptr<BatchSender> stream;
  if (transport == Transport::kStreamIfAny) stream = deps_.stream();
  {
    const absl::MutexLock lock(&mutex_);
    if (pending->over) return;
    ++pending->requests;
    if (stream != nullptr) {
      const core::BootTime now = deps_.clock.BootNow();
      for (const Waiter& waiter : pending->waiters) pending->deadline = std::max(pending->deadline, waiter.deadline);
      pending->stream = stream;
      pending->streamed_at = now;
      pending->fall_back_at = now + std::min(kStreamPatience, (pending->deadline - now) / 2);
      ScheduleTimer(pending);
    }
  }
  if (stream == nullptr) return SendCall(pending);
  if (!stream->Send(pending)) {
    OnAnswer(pending, {}, absl::UnavailableError("the stream is closed"), AnswerSource::kBrokenStream);
  }
}

void PendingVerifications::SendCall(const PendingPtr& pending) {
  core::BootTime deadline;
  {
    const absl::MutexLock lock(&mutex_);
    if (pending->over) return;
    for (const Waiter& waiter : pending->waiters) deadline = std::max(deadline, waiter.deadline);
    ScheduleTimer(pending);
  }
  unary_calls_.Add();
  const LeaseCache::PendingRequest request = deps_.cache.BeginRequest(pending->key.Expose());
  deps_.call(pending->key.Expose(), std::max(kLeastTimeout, deadline - request.asked_at), pending->min_revision,
             [this, pending, request](StatusOrAnswer answer) {
               OnAnswer(pending, request, std::move(answer), AnswerSource::kCall);
             });
}

void PendingVerifications::OnAnswer(const PendingPtr& pending, const LeaseCache::PendingRequest& request,
                                    StatusOrAnswer answer, AnswerSource source) {
  Waiters waiters;
  bool over = false;
  {
    const absl::MutexLock lock(&mutex_);
    --pending->requests;
    over = pending->over;
    if (!over) {
      // The call that was begun since has the last word.
      if (!answer.ok() && source != AnswerSource::kCall && pending->requests > 0) return;
      if (source == AnswerSource::kBrokenStream) {
        pending->stream = nullptr;
        ++pending->requests;
      } else {
        waiters = std::move(pending->waiters);
        Remove(*pending);
      }
    }
  }
  if (over) {
    // Too late for those who asked, but what it says counts, a denial above all.
    if (answer.ok()) deps_.cache.Insert(request, *answer, {});
    return;
  }
  if (source == AnswerSource::kBrokenStream) {
    fallbacks_.Add();
    return SendCall(pending);
  }
  Deliver(*pending, request, answer, std::move(waiters));
}

void PendingVerifications::Deliver(const PendingVerification& pending, const LeaseCache::PendingRequest& request,
                                   const StatusOrAnswer& answer, Waiters waiters) {
  absl::Status status = answer.status();
  if (absl::IsFailedPrecondition(status) && !pending.min_revision.empty()) {
    status = absl::UnavailableError("the server's history is not that of the server that is watched");
  }
  const core::BootTime now = deps_.clock.BootNow();
  Waiters again;
  Transport transport = Transport::kStreamIfAny;
  std::string min_revision;
  int answered = 0;
  for (Waiter& waiter : waiters) {
    const bool in_time = waiter.deadline - now > kLeastTimeout;
    absl::Status why = status;
    if (status.ok()) {
      if (std::optional<LeaseCache::Hit> hit = deps_.cache.Insert(request, *answer, waiter.params())) {
        // The server has counted the one who asked it.
        if (waiter.joined) deps_.count_use(*hit);
        waiter.done(ToAnswer(*std::move(hit)));
        waiter.ReleaseCallbacks();
        ++answered;
        continue;
      }
      const bool overridden = deps_.cache.IsOverriddenByWatch(request, *answer);
      if (in_time && waiter.repeats++ < kMostRepeats) {
        // The one that answered is behind the one that is watched: it is told how far it has to be.
        if (overridden) {
          transport = Transport::kCall;
          min_revision = deps_.cache.Applied().Encode();
        }
        again.push_back(std::move(waiter));
        continue;
      }
      why = overridden ? absl::UnavailableError("the server has not heard yet of a change that this process knows of")
                       : absl::UnavailableError("the server's answer came too late to be believed");
    } else if (in_time && IsWorthARetry(status) && !std::exchange(waiter.retried, true)) {
      // A late joiner may have more time than the call had; anybody, another server.
      transport = Transport::kCall;
      again.push_back(std::move(waiter));
      continue;
    }
    FailOrServeGrace(pending.key.Expose(), waiter, why);
    ++answered;
  }
  if (!again.empty()) {
    retries_.Add();
    JoinOrStart(pending.key.Clone(), pending.request, std::move(again), transport, std::move(min_revision));
  }
  ReleaseWaiters(answered);
}

void PendingVerifications::OnTimer(const PendingPtr& pending) {
  const core::BootTime now = deps_.clock.BootNow();
  Waiters late;
  std::shared_ptr<BatchSender> slow;
  {
    const absl::MutexLock lock(&mutex_);
    if (pending->over) return;
    pending->timer.reset();
    const auto in_time = std::partition(pending->waiters.begin(), pending->waiters.end(),
                                        [now](const Waiter& waiter) { return waiter.deadline > now; });
    std::move(in_time, pending->waiters.end(), std::back_inserter(late));
    pending->waiters.erase(in_time, pending->waiters.end());
    if (pending->waiters.empty()) {
      Remove(*pending);
    } else if (pending->stream != nullptr && pending->fall_back_at <= now) {
      slow = std::move(pending->stream);
      pending->stream = nullptr;
      ++pending->requests;
    }
    if (!pending->over) ScheduleTimer(pending);
  }
  for (Waiter& waiter : late) {
    FailOrServeGrace(pending->key.Expose(), waiter, absl::DeadlineExceededError("no server has answered in time"));
  }
  if (slow != nullptr) {
    fallbacks_.Add();
    if (slow->IsSilentSince(pending->streamed_at)) deps_.replace_stream(slow);
    SendCall(pending);
  }
  ReleaseWaiters(static_cast<int>(late.size()));
}

void PendingVerifications::ScheduleTimer(const PendingPtr& pending) {
  core::BootTime next = pending->stream != nullptr ? pending->fall_back_at : pending->waiters.front().deadline;
  for (const Waiter& waiter : pending->waiters) next = std::min(next, waiter.deadline);
  if (pending->timer.has_value()) {
    if (pending->timer->first == next) return;
    deps_.timers.Cancel(*pending->timer);
  }
  pending->timer = deps_.timers.At(next, [this, pending] { OnTimer(pending); });
}

void PendingVerifications::Remove(PendingVerification& pending) {
  pending.over = true;
  pending.stream = nullptr;
  if (pending.timer.has_value()) deps_.timers.Cancel(*pending.timer);
  pending.timer.reset();
  pending_.erase(pending.request.digest);
}

void PendingVerifications::FailOrServeGrace(std::string_view key_string, Waiter& waiter, const absl::Status& why) {
  std::optional<LeaseCache::Hit> hit;
  if (IsUndecided(why)) hit = deps_.cache.FindInGrace(key_string, waiter.params());
  if (hit.has_value()) {
    // Else it is as good as any hit: the lease has come back meanwhile.
    if (hit->in_grace) {
      grace_uses_.Add();
      deps_.on_grace_use();
    }
    deps_.count_use(*hit);
    waiter.done(ToAnswer(*std::move(hit)));
  } else {
    undecided_.Add();
    waiter.done(Answer::Undecided(why));
  }
  waiter.ReleaseCallbacks();
}

void PendingVerifications::ReleaseWaiters(int count) {
  const absl::MutexLock lock(&mutex_);
  waiters_ -= count;
}

void PendingVerifications::WaitUntilNoWaiters() {
  const absl::MutexLock lock(&mutex_);
  mutex_.Await(absl::Condition(
      +[](int* waiters) { return *waiters == 0; }, &waiters_));
}

void PendingVerifications::AddTo(VerifierStats& stats) const {
  stats.coalesced = coalesced_.value();
  stats.grace_uses = grace_uses_.value();
  stats.undecided = undecided_.value();
  stats.unary_calls = unary_calls_.value();
  stats.fallbacks = fallbacks_.value();
  stats.retries = retries_.value();
}

}  // namespace latchkey::client
