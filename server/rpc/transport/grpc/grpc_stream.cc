#include "server/rpc/transport/grpc/grpc_stream.h"

#include <utility>

#include "server/base/log.h"

namespace latchkey::rpc {

GrpcStream::Reactor* GrpcStream::Start(const MethodTable::StartStream& start, grpc::CallbackServerContext& context) {
  auto* const stream = new GrpcStream(context);  // Deletes itself in OnDone, which gRPC promises to call.
  // gRPC calls no reaction before this has returned.
  stream->handler_ = start(*stream);
  return stream;
}

void GrpcStream::Read() {
  const std::lock_guard lock(mutex_);
  if (!finish_.has_value()) StartRead(&incoming_);
}

size_t GrpcStream::Write(std::string message) {
  const std::lock_guard lock(mutex_);
  if (cancelled_ || finish_.has_value()) return unsent_bytes_;
  unsent_bytes_ += message.size();
  written_due_ = false;
  if (writing_) {
    queue_.push_back(std::move(message));
  } else {
    StartWriteLocked(std::move(message));
  }
  return unsent_bytes_;
}

void GrpcStream::StartWriteLocked(std::string message) {
  writing_ = true;
  writing_bytes_ = message.size();
  outgoing_ = BufferOf(std::move(message));
  StartWrite(&outgoing_);
}

void GrpcStream::Finish(const google::rpc::Status& status) {
  const std::lock_guard lock(mutex_);
  if (finish_.has_value()) {
    log::Error("a stream was finished twice", {{"peer", peer().name}});
    return;
  }
  finish_ = status;
  message_due_.reset();
  half_close_due_ = written_due_ = cancel_due_ = false;
  FinishIfSentLocked();
}

void GrpcStream::FinishIfSentLocked() {
  if (!finish_.has_value() || writing_ || std::exchange(finished_, true)) return;
  Reactor::Finish(GrpcStatusOf(*finish_));
}

void GrpcStream::NoteCancelledLocked() {
  if (std::exchange(cancelled_, true)) return;
  queue_.clear();
  unsent_bytes_ = 0;
  written_due_ = false;
  cancel_due_ = !finish_.has_value();
}

void GrpcStream::OnReadDone(bool ok) {
  std::optional<std::string> message;
  if (ok) message = TakeBytes(incoming_);
  std::unique_lock lock(mutex_);
  if (finish_.has_value()) return;
  message_due_ = std::move(message);
  // Of a call that is cancelled every read fails; OnCancel comes by itself.
  half_close_due_ = !ok && !IsCancelled();
  RunHooks(lock);
}

void GrpcStream::OnWriteDone(bool ok) {
  std::unique_lock lock(mutex_);
  writing_ = false;
  outgoing_.Clear();
  if (!ok) NoteCancelledLocked();
  if (!cancelled_) {
    unsent_bytes_ -= writing_bytes_;
    if (queue_.empty()) {
      written_due_ = !finish_.has_value();
    } else {
      std::string next = std::move(queue_.front());
      queue_.pop_front();
      StartWriteLocked(std::move(next));
    }
  }
  FinishIfSentLocked();
  RunHooks(lock);
}

void GrpcStream::OnCancel() {
  std::unique_lock lock(mutex_);
  NoteCancelledLocked();
  RunHooks(lock);
}

void GrpcStream::OnDone() {
  // Every reaction has returned, and hooks run within reactions.
  handler_->OnEnd();
  delete this;
}

void GrpcStream::RunHooks(std::unique_lock<std::mutex>& lock) {
  if (std::exchange(running_hooks_, true)) return;
  const auto run = [&](auto&& hook) {
    lock.unlock();
    hook();
    lock.lock();
  };
  for (;;) {
    if (message_due_.has_value()) {
      std::string message = *std::move(message_due_);
      message_due_.reset();
      run([&] { handler_->OnMessage(std::move(message)); });
    } else if (std::exchange(half_close_due_, false)) {
      run([&] { handler_->OnHalfClose(); });
    } else if (std::exchange(written_due_, false)) {
      run([&] { handler_->OnWritten(); });
    } else if (std::exchange(cancel_due_, false)) {
      run([&] { handler_->OnCancel(); });
    } else {
      break;
    }
  }
  running_hooks_ = false;
}

}  // namespace latchkey::rpc
