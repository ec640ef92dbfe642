#include "server/rpc/transport/grpc/grpc_unary_call.h"

#include <chrono>
#include <memory>
#include <utility>
#include <vector>

#include "server/base/errors.h"

namespace latchkey::rpc {

// What the door has of a call, which gRPC may end as soon as it is finished.
class GrpcUnaryCall::Handle final : public UnaryCall {
 public:
  explicit Handle(GrpcUnaryCall& call) : call_(call) {}

  CallContext::Values Metadata(std::string_view name) const override { return call_.Metadata(name); }
  std::optional<absl::Duration> TimeLeft() const override { return call_.TimeLeft(); }
  bool IsCancelled() const override { return call_.IsCancelled(); }
  const Peer& peer() const override { return call_.peer(); }
  std::vector<std::string> CertificateNames() const override { return call_.CertificateNames(); }
  uint64_t connection_serial() const override { return call_.connection_serial(); }
  void SetCaller(const std::string& organization, const std::string& kid) override {
    call_.SetCaller(organization, kid);
  }
  void Finish(const google::rpc::Status& status, std::string response) override {
    call_.Finish(status, std::move(response));
  }

 private:
  GrpcUnaryCall& call_;
};

GrpcUnaryCall::Reactor* GrpcUnaryCall::Start(const GrpcCallDependencies& dependencies, const MethodTable::Entry& entry,
                                             grpc::CallbackServerContext& context) {
  // Deletes itself in OnDone, which gRPC promises to call.
  auto* const call = new GrpcUnaryCall(dependencies, entry, context);
  if (const absl::Status refused = call->Admit(/*places=*/0); !refused.ok()) {
    call->FinishWith(refused);
    return call;
  }
  dependencies.admission.deadlines().Add(*call, std::chrono::steady_clock::now());
  call->StartRead(&call->message_);
  return call;
}

void GrpcUnaryCall::OnReadDone(bool ok) {
  // Refused at the start, or overdue: then it is finished elsewhere.
  if (!dependencies().admission.deadlines().Remove(*this)) return;
  if (!ok) {
    // Half-closed without a message: answered as gRPC's own classes do. Or cancelled; then nobody hears of it.
    google::rpc::Status unimplemented;
    unimplemented.set_code(static_cast<int>(absl::StatusCode::kUnimplemented));
    Finish(unimplemented, "");
    return;
  }
  StartWork();
  std::string request = TakeBytes(message_);
  entry_.unary(std::make_unique<Handle>(*this), std::move(request));
}

void GrpcUnaryCall::OnMessageOverdue() { FinishWith(errors::DeadlineExceeded()); }

void GrpcUnaryCall::FinishWith(const absl::Status& status) { Finish(dependencies().wire_status(status), ""); }

void GrpcUnaryCall::Finish(const google::rpc::Status& status, std::string response) {
  switch (charge().Finish(response.size())) {
    case CallCharge::Answer::kSend:
      break;
    case CallCharge::Answer::kBusy:
      Reactor::Finish(GrpcStatusOf(dependencies().wire_status(errors::WorkersBusy(kFullRetryAfter))));
      return;
    case CallCharge::Answer::kReset:
      context().TryCancel();
      Reactor::Finish(grpc::Status::CANCELLED);
      return;
  }
  // gRPC may have ended the call, and deleted it, before either of them returns.
  if (status.code() == 0) {
    message_ = BufferOf(std::move(response));
    StartWriteAndFinish(&message_, grpc::WriteOptions(), grpc::Status::OK);
  } else {
    Reactor::Finish(GrpcStatusOf(status));
  }
}

}  // namespace latchkey::rpc
