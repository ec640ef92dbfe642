#include "server/rpc/transport/grpc/grpc_stream.h"

#include <utility>

#include "server/base/log.h"

namespace latchkey::rpc {

GrpcStream::Reactor* GrpcStream::Start(const GrpcCallDependencies& dependencies, const MethodTable::Entry& entry,
                                       grpc::CallbackServerContext& context) {
  // Deletes itself in OnDone, which gRPC promises to call.
  auto* const stream = new GrpcStream(dependencies, context, entry.before_caller);
  if (const absl::Status refused = stream->Admit(/*places=*/1); !refused.ok()) {
    stream->RefuseWith(dependencies.wire_status(refused));
    return stream;
  }
  // gRPC calls no reaction before this has returned.
  stream->handler_ = entry.stream(*stream);
  return stream;
}

GrpcStream::Reactor* GrpcStream::Refuse(const GrpcCallDependencies& dependencies, const google::rpc::Status& status,
                                        grpc::CallbackServerContext& context) {
  auto* const stream = new GrpcStream(dependencies, context, AnonymousClass::kUnproven);
  stream->Admit(/*places=*/0).IgnoreError();
  stream->RefuseWith(status);
  return stream;
}

void GrpcStream::RefuseWith(const google::rpc::Status& status) {
  // Nobody else has it yet, and its end may come at once: so no lock.
  finish_ = status;
  finished_ = true;
  if (charge().Finish(0) == CallCharge::Answer::kReset) context().TryCancel();
  Reactor::Finish(GrpcStatusOf(status));
}

void GrpcStream::SetCaller(const std::string& organization, const std::string& kid) {
  const std::lock_guard lock(mutex_);
  charge().SetCaller(organization, kid);
  StartWork();
}

void GrpcStream::Read() {
  const std::lock_guard lock(mutex_);
  if (!finish_.has_value()) StartRead(&incoming_);
}

size_t GrpcStream::Write(std::string message) {
  const std::lock_guard lock(mutex_);
  if (cancelled_ || finish_.has_value()) return unsent_bytes_;
  if (unsent_bytes_ + message.size() > dependencies().admission.limits().stream_unsent_bytes ||
      !charge().AddUnsent(message.size()).ok()) {
    // A message that is left out would be missed by no one but the client.
    context().TryCancel();
    return unsent_bytes_;
  }
  unsent_bytes_ += message.size();
  written_due_ = false;
  if (writing_) {
    queue_.push_back(std::move(message));
  } else {
    StartWriteLocked(std::move(message));
  }
  return unsent_bytes_;
}

bool GrpcStream::Reserve(size_t bytes) {
  const std::lock_guard lock(mutex_);
  return charge().AddUnsent(bytes).ok();
}

void GrpcStream::Unreserve(size_t bytes) {
  const std::lock_guard lock(mutex_);
  charge().NoteSent(bytes);
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
  if (charge().Finish(0) == CallCharge::Answer::kReset) context().TryCancel();
  FinishIfSentLocked();
}

void GrpcStream::FinishIfSentLocked() {
  if (!finish_.has_value() || writing_ || std::exchange(finished_, true)) return;
  Reactor::Finish(GrpcStatusOf(*finish_));
}

void GrpcStream::NoteCancelledLocked() {
  if (std::exchange(cancelled_, true)) return;
  queue_.clear();
  charge().NoteSent(unsent_bytes_ - (writing_ ? writing_bytes_ : 0));
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
  charge().NoteSent(writing_bytes_);
  if (!cancelled_) unsent_bytes_ -= writing_bytes_;
  if (!ok) NoteCancelledLocked();
  if (!cancelled_) {
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
  if (handler_ != nullptr) handler_->OnEnd();
  // Whoever finished it may still be in there: it holds the lock until it has let go of it all.
  { const std::lock_guard lock(mutex_); }
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
