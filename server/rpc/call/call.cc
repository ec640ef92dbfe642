#include "server/rpc/call/call.h"

#include "server/base/errors.h"
#include "server/base/log.h"
#include "server/rpc/call/status_conversion.h"

namespace latchkey::rpc {

const std::array<Call::Step, 6> Call::kStepsBeforeTheWork = {
    &Call::Authenticate,     &Call::Validate,          &Call::TakeAPlaceInTheQueue,
    &Call::CheckStillWanted, &Call::AuthenticateAgain, &Call::StartWork,
};

Call::Call(std::unique_ptr<UnaryCall> transport, const Method& method, const CallDependencies& dependencies,
           absl::Duration default_deadline)
    : transport_(std::move(transport)),
      dependencies_(dependencies),
      default_deadline_(default_deadline),
      caller_(*transport_, method, dependencies.authenticator) {}

Call::~Call() {
  if (!completed_) Complete(errors::ShuttingDown());
}

void Call::Run() {
  while (next_step_ < kStepsBeforeTheWork.size()) {
    const StepResult result = (this->*kStepsBeforeTheWork[next_step_++])();
    if (!result.has_value()) return;
    if (!result->ok()) {
      Complete(*result);
      return;
    }
  }
}

void Call::Resume(const absl::Status& status) {
  if (status.ok()) {
    Run();
  } else {
    Complete(status);
  }
}

Call::StepResult Call::Authenticate() {
  if (StepResult known = caller_.FromMemory()) return known;
  caller_.Prove(TimeLeft(), [self = shared_from_this()](const absl::Status& known) { self->Resume(known); });
  return std::nullopt;
}

Call::StepResult Call::Validate() { return ReadRequest(); }

Call::StepResult Call::TakeAPlaceInTheQueue() {
  base::WorkQueue* const queue = workers();
  if (queue == nullptr) return absl::OkStatus();
  queue->Run(caller().share(), [self = shared_from_this()](const absl::Status& turn) { self->Resume(turn); });
  return std::nullopt;
}

Call::StepResult Call::CheckStillWanted() {
  if (workers() == nullptr) return absl::OkStatus();  // It has not waited.
  if (transport_->IsCancelled()) return absl::CancelledError("cancelled");
  if (TimeLeft() <= absl::ZeroDuration()) return errors::DeadlineExceeded();
  return absl::OkStatus();
}

// Its key may have been revoked, or narrowed, while it waited.
Call::StepResult Call::AuthenticateAgain() {
  if (workers() == nullptr) return absl::OkStatus();
  return caller_.FromMemory(/*counted=*/false).value_or(errors::LeaseExpired());
}

Call::StepResult Call::StartWork() {
  Work();
  return std::nullopt;
}

absl::Duration Call::TimeLeft() const { return transport_->TimeLeft().value_or(default_deadline_ - caller_.Elapsed()); }

void Call::Complete(const absl::Status& status) {
  if (std::exchange(completed_, true)) {
    log::Error("a call was completed twice", {{"rpc", method().name}, {"request_id", id()}});
    return;
  }
  caller_.Log(status);
  if (dependencies_.observer) dependencies_.observer(method(), status, caller_.Elapsed());
  transport_->Finish(RpcStatusOf(status, id()), status.ok() ? SerializedResponse() : std::string());
}

}  // namespace latchkey::rpc
