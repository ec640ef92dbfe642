#include "client/src/watch_stream.h"

#include "client/src/caller_metadata.h"
#include "client/src/convert.h"

namespace latchkey::client {
namespace {

// More than these are never without a Pong on a stream that is not given up.
constexpr size_t kPingsRemembered = 1'024;

}  // namespace

WatchStream::WatchStream(std::shared_ptr<grpc::Channel> channel, const core::Secret& caller_key,
                         const core::Clock& clock, EventLoop& loop, uint64_t cache_stream,
                         const std::optional<core::RevisionToken>& resume, Events events)
    : clock_(clock),
      loop_(loop),
      cache_stream_(cache_stream),
      events_(std::move(events)),
      channel_(std::move(channel)),
      stub_(v1::KeyVerify::NewStub(channel_)) {
  PrepareStream(caller_key, *context_);
  stub_->async()->Watch(&*context_, this);
  // The loop writes when it likes: gRPC must not be done before the loop knows that the stream is over.
  AddHold();
  v1::WatchRequest::Subscribe& subscribe = *request_.mutable_subscribe();
  if (resume.has_value()) subscribe.set_resume_revision(resume->Encode());
  writing_ = true;
  StartRead(&response_);
  StartWrite(&request_);
  StartCall();
}

void WatchStream::Ping(const core::RevisionToken& acknowledged) {
  ping_ = acknowledged;
  if (!writing_) Write();
}

void WatchStream::Write() {
  if (over_ || !ping_.has_value()) return;
  v1::WatchRequest::Ping& ping = *request_.mutable_ping();
  ping.set_seq(next_seq_++);
  ping.set_acknowledged_revision(ping_->Encode());
  ping_.reset();
  if (sent_.size() >= kPingsRemembered) sent_.pop_front();
  writing_ = true;
  // The lease counts from here: before the first byte is written.
  sent_.emplace_back(ping.seq(), clock_.BootNow());
  StartWrite(&request_);
}

std::optional<core::BootTime> WatchStream::TakeSentAt(uint64_t seq) {
  while (!sent_.empty() && sent_.front().first < seq) sent_.pop_front();
  if (sent_.empty() || sent_.front().first != seq) return std::nullopt;
  const core::BootTime sent_at = sent_.front().second;
  sent_.pop_front();
  return sent_at;
}

void WatchStream::Cancel() {
  if (!over_) context_->TryCancel();
}

void WatchStream::OnWriteDone(bool ok) {
  loop_.Post([this, ok] {
    writing_ = false;
    if (ok) Write();
  });
}

void WatchStream::OnReadDone(bool ok) {
  loop_.Post([this, ok] {
    if (!ok) {
      over_ = true;
      RemoveHold();
      return;
    }
    events_.heard(*this, response_);
    StartRead(&response_);
  });
}

// Posted last, because the read's failure was waited for and a write's end comes before this: nothing of the stream is
// in the loop after it.
void WatchStream::OnDone(const grpc::Status& status) {
  loop_.Post([this, status = ToStatus(status)] {
    context_.reset();
    const auto gone = events_.gone;  // It may destroy this stream.
    gone(*this, status);
  });
}

}  // namespace latchkey::client
