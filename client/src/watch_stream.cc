#include "client/src/watch_stream.h"

#include "client/src/caller_metadata.h"
#include "client/src/convert.h"

namespace latchkey::client {
WatchStream::WatchStream(std::shared_ptr<grpc::Channel> channel, const core::Secret& caller_key,
                         const core::Clock& clock, EventLoop& loop, uint64_t cache_stream,
                         const std::optional<core::RevisionToken>& resume, Events events)
    : WatchConnection(cache_stream),
      clock_(clock),
      loop_(loop),
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
  ping.set_acknowledged_revision(ping_->Encode());
  ping_.reset();
  writing_ = true;
  // The lease counts from here: before the first byte is written.
  ping.set_seq(sent_.Add(clock_.BootNow()));
  StartWrite(&request_);
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
