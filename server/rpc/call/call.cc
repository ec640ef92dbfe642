#include "server/rpc/call/call.h"

#include <utility>

#include "server/base/errors.h"
#include "server/base/log.h"
#include "server/rpc/call/status_conversion.h"

namespace latchkey::rpc {

Call::Call(grpc::CallbackServerContext& context, const Method& method, keys::KeyVerifier& verifier,
           SecurityLog& security_log, absl::Duration default_deadline)
    : context_(context),
      reactor_(context.DefaultReactor()),
      caller_(context, method, verifier, security_log),
      deadline_(context.deadline()) {
  if (deadline_ == std::chrono::system_clock::time_point::max()) {
    deadline_ = std::chrono::system_clock::now() + std::chrono::duration_cast<std::chrono::system_clock::duration>(
                                                       absl::ToChronoNanoseconds(default_deadline));
  }
}

Call::~Call() {
  // A job that was dropped must not leave its caller waiting.
  if (!completed_) Complete(errors::ShuttingDown());
}

absl::Duration Call::TimeLeft() const { return absl::FromChrono(deadline_ - std::chrono::system_clock::now()); }

absl::Status Call::StillWanted() const {
  if (context_.IsCancelled()) return absl::CancelledError("cancelled");
  if (TimeLeft() <= absl::ZeroDuration()) return errors::DeadlineExceeded();
  return absl::OkStatus();
}

void Call::Authenticate(const std::shared_ptr<Call>& call, std::function<void()> then) {
  call->caller_.Judge(call->TimeLeft(), nullptr, [call, then = std::move(then)](const absl::Status& status) {
    if (status.ok()) {
      then();
    } else {
      call->Complete(status);
    }
  });
}

void Call::Complete(const absl::Status& status) {
  if (std::exchange(completed_, true)) {
    log::Error("a call was completed twice", {{"rpc", method().name}, {"request_id", id()}});
    return;
  }
  caller_.Log(status);
  reactor_->Finish(GrpcStatusOf(status, id()));
}

}  // namespace latchkey::rpc
