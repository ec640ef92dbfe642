#include "client/src/verify_stream_holder.h"

#include <utility>

#include "client/src/convert.h"

namespace latchkey::client {
namespace {

// For the answers that a stream which is left may still bring.
constexpr absl::Duration kParting = absl::Seconds(1);

}  // namespace

VerifyStreamHolder::VerifyStreamHolder(Dependencies dependencies) : deps_(std::move(dependencies)) {}

VerifyStreamHolder::~VerifyStreamHolder() = default;

std::shared_ptr<VerifyStream> VerifyStreamHolder::current() const {
  const absl::MutexLock lock(&mutex_);
  return current_;
}

void VerifyStreamHolder::OnWatchUp(const std::shared_ptr<grpc::Channel>& channel) {
  if (stopped_ != nullptr) return;
  channel_ = channel;
  backoff_.Reset();
  Open();
}

void VerifyStreamHolder::OnWatchDown() {
  channel_ = nullptr;
  if (const std::shared_ptr<VerifyStream> stream = Swap(nullptr)) stream->Close(kParting);
}

void VerifyStreamHolder::Open() {
  ++open_streams_;
  const auto stream = VerifyStream::Open(
      channel_, deps_.caller_key, deps_.cache, deps_.clock, deps_.loop,
      {.answered =
           [this](const std::shared_ptr<PendingVerification>& pending, const LeaseCache::PendingRequest& request,
                  PendingVerifications::StatusOrAnswer answer, PendingVerifications::AnswerSource source) {
             if (!answer.ok()) answer = WithoutKey(answer.status(), deps_.caller_key.Expose());
             deps_.on_answer(pending, request, std::move(answer), source);
           },
       .written =
           [this](int requests) {
             batches_.Add();
             batched_.Add(requests);
           },
       .gone = [this](VerifyStream* gone, const absl::Status&) { OnGone(gone); }});
  if (const std::shared_ptr<VerifyStream> before = Swap(stream)) before->Close(kParting);
}

void VerifyStreamHolder::OnGone(VerifyStream* stream) {
  --open_streams_;
  bool was_current = false;
  {
    const absl::MutexLock lock(&mutex_);
    was_current = current_.get() == stream;
    if (was_current) current_ = nullptr;
  }
  if (was_current) {
    breaks_.Add();
    deps_.loop.After(backoff_.Next(), [this] {
      if (channel_ != nullptr && current() == nullptr) Open();
    });
  }
  NoteStopped();
}

void VerifyStreamHolder::Replace(const std::shared_ptr<BatchSender>& stuck) {
  std::shared_ptr<VerifyStream> stream;
  {
    const absl::MutexLock lock(&mutex_);
    if (current_ != stuck) return;
    stream.swap(current_);
  }
  breaks_.Add();
  if (channel_ != nullptr) Open();
  stream->Abort();
}

void VerifyStreamHolder::Stop(std::function<void()> stopped) {
  stopped_ = std::move(stopped);
  OnWatchDown();
  NoteStopped();
}

std::shared_ptr<VerifyStream> VerifyStreamHolder::Swap(std::shared_ptr<VerifyStream> stream) {
  const absl::MutexLock lock(&mutex_);
  current_.swap(stream);
  return stream;
}

void VerifyStreamHolder::NoteStopped() {
  if (stopped_ != nullptr && open_streams_ == 0) stopped_();
}

void VerifyStreamHolder::AddTo(VerifierStats& stats) const {
  stats.batches = batches_.value();
  stats.batched = batched_.value();
  stats.stream_breaks = breaks_.value();
}

}  // namespace latchkey::client
