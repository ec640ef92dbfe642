#include "client/src/verify_stream.h"

#include <algorithm>
#include <string>
#include <utility>

#include "client/src/caller_metadata.h"
#include "client/src/convert.h"

namespace latchkey::client {
namespace {

using AnswerSource = PendingVerifications::AnswerSource;

constexpr size_t kBatchLimit = 64;      // StreamVerifyRequest.requests'.
constexpr int kSilencesUntilStuck = 3;  // A single one may be bad luck.
constexpr absl::Duration kMinTimeout = absl::Milliseconds(1);
constexpr absl::Duration kMaxTimeout = absl::Seconds(60);  // StreamVerifyRequest.timeout's.

absl::Status Ended() { return absl::UnavailableError("the stream to the server has ended"); }

}  // namespace

VerifyStream::VerifyStream(LeaseCache& cache, const core::Clock& clock, EventLoop& loop, Events events)
    : cache_(cache), clock_(clock), loop_(loop), events_(std::move(events)) {}

std::shared_ptr<VerifyStream> VerifyStream::Open(const std::shared_ptr<grpc::Channel>& channel,
                                                 const core::Secret& caller_key, LeaseCache& cache,
                                                 const core::Clock& clock, EventLoop& loop, Events events) {
  std::shared_ptr<VerifyStream> stream(new VerifyStream(cache, clock, loop, std::move(events)));
  stream->self_ = stream;
  stream->stub_ = v1::KeyVerify::NewStub(channel);
  PrepareStream(caller_key, *stream->context_);
  stream->stub_->async()->StreamVerify(&*stream->context_, stream.get());
  // Questions are written from any thread: OnDone must not come before Fail has made an end of that.
  stream->AddHold();
  stream->StartRead(&stream->response_);
  stream->StartCall();
  return stream;
}

bool VerifyStream::Send(std::shared_ptr<PendingVerification> pending) {
  const std::lock_guard lock(mutex_);
  if (closed_ || failed_) return false;
  waiting_.push_back(std::move(pending));
  if (!writing_) WriteNext();
  return true;
}

void VerifyStream::WriteNext() {
  const size_t count = std::min(waiting_.size(), kBatchLimit);
  if (count == 0 || failed_) return;
  writing_ = true;
  const uint64_t id = next_batch_++;
  Batch& batch = batches_[id];
  batch.items.reserve(count);
  batch.left = count;
  request_.set_batch_id(id);
  // One reading of the clock for all, before any of it is written.
  const LeaseCache::PendingRequest first = cache_.BeginRequest(waiting_.front()->key.Expose());
  core::BootTime latest;
  for (size_t i = 0; i < count; ++i) {
    std::shared_ptr<PendingVerification>& pending = waiting_[i];
    request_.add_requests()->set_key(std::string(pending->key.Expose()));
    latest = std::max(latest, pending->deadline);
    LeaseCache::PendingRequest request = pending->request;
    request.asked_at = first.asked_at;
    request.stream = first.stream;
    batch.items.push_back({std::move(pending), request});
  }
  waiting_.erase(waiting_.begin(), waiting_.begin() + static_cast<std::ptrdiff_t>(count));
  *request_.mutable_timeout() = ToProto(std::clamp(latest - first.asked_at, kMinTimeout, kMaxTimeout));
  events_.written(static_cast<int>(count));
  StartWrite(&request_);
}

void VerifyStream::OnWriteDone(bool ok) {
  const std::lock_guard lock(mutex_);
  for (v1::VerifyRequest& request : *request_.mutable_requests()) core::CleanseString(*request.mutable_key());
  request_.Clear();
  writing_ = false;
  // If it failed, so will the read, which makes the end.
  if (ok) WriteNext();
}

void VerifyStream::OnReadDone(bool ok) {
  if (!ok) return Fail();
  heard_at_ns_.store(clock_.BootNow().nanoseconds(), std::memory_order_relaxed);
  std::vector<std::pair<Item, const v1::VerifyResult*>> answers;
  answers.reserve(static_cast<size_t>(response_.results_size()));
  {
    const std::lock_guard lock(mutex_);
    silences_ = 0;
    const auto found = batches_.find(response_.batch_id());
    if (found != batches_.end()) {
      Batch& batch = found->second;
      for (const auto& result : response_.results()) {
        if (result.index() >= batch.items.size() || batch.items[result.index()].pending == nullptr) continue;
        answers.emplace_back(std::move(batch.items[result.index()]), &result.result());
        --batch.left;
      }
      if (batch.left == 0) batches_.erase(found);
    }
  }
  for (const auto& [item, result] : answers) {
    if (result->has_response()) {
      events_.answered(item.pending, item.request, ToServerAnswer(result->response()), AnswerSource::kStream);
    } else {
      absl::Status error =
          result->error().code() != 0 ? ToStatus(result->error()) : absl::InternalError("the server sent no result");
      events_.answered(item.pending, item.request, WithoutKey(std::move(error), item.pending->key.Expose()),
                       AnswerSource::kStream);
    }
  }
  answers.clear();
  StartRead(&response_);
}

void VerifyStream::Fail() {
  std::unordered_map<uint64_t, Batch> batches;
  std::vector<std::shared_ptr<PendingVerification>> waiting;
  {
    const std::lock_guard lock(mutex_);
    failed_ = true;
    batches.swap(batches_);
    waiting.swap(waiting_);
  }
  for (const auto& [id, batch] : batches) {
    for (const Item& item : batch.items) {
      if (item.pending != nullptr) events_.answered(item.pending, item.request, Ended(), AnswerSource::kBrokenStream);
    }
  }
  for (const auto& pending : waiting) events_.answered(pending, {}, Ended(), AnswerSource::kBrokenStream);
  // Write errors and the status arrive without further ado once nothing is read any more.
  context_->TryCancel();
  RemoveHold();
}

void VerifyStream::OnDone(const grpc::Status& status) {
  loop_.Post([self = std::move(self_), status = ToStatus(status)]() mutable {
    // Here, on a thread that is not gRPC's: with them may go the last reference to the channel.
    self->context_.reset();
    self->stub_.reset();
    self->events_.gone(self.get(), status);
  });
}

bool VerifyStream::IsSilentSince(core::BootTime since) {
  const std::lock_guard lock(mutex_);
  if (heard_at_ns_.load(std::memory_order_relaxed) >= since.nanoseconds()) return false;
  return ++silences_ >= kSilencesUntilStuck;
}

void VerifyStream::Close(absl::Duration patience) {
  {
    const std::lock_guard lock(mutex_);
    closed_ = true;
    if (failed_) return;
    if (!batches_.empty() || !waiting_.empty()) {
      loop_.After(patience, [self = self_] {
        if (self != nullptr) self->Abort();
      });
      return;
    }
  }
  Abort();
}

void VerifyStream::Abort() {
  const std::lock_guard lock(mutex_);
  closed_ = true;
  if (!failed_) context_->TryCancel();
}

}  // namespace latchkey::client
