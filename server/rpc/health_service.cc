#include "server/rpc/health_service.h"

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "grpc/health/v1/health.pb.h"
#include "server/rpc/call/status_conversion.h"

namespace latchkey::rpc {
namespace {

using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;

HealthCheckResponse::ServingStatus WireStatusOf(ServingState::Status status) {
  switch (status) {
    case ServingState::Status::kServing:
      return HealthCheckResponse::SERVING;
    case ServingState::Status::kNotServing:
      return HealthCheckResponse::NOT_SERVING;
    case ServingState::Status::kUnknownService:
      return HealthCheckResponse::SERVICE_UNKNOWN;
  }
  return HealthCheckResponse::UNKNOWN;
}

google::rpc::Status StatusOf(absl::StatusCode code, const char* message) {
  google::rpc::Status status;
  status.set_code(static_cast<int>(code));
  status.set_message(message);
  return status;
}

google::rpc::Status UnknownService() {
  google::rpc::ErrorInfo info;
  info.set_reason("SERVICE_UNKNOWN");
  info.set_domain(kErrorDomain);
  google::rpc::Status status = StatusOf(absl::StatusCode::kNotFound,
                                        "unknown service; known are \"\", latchkey.v1.KeyVerify and "
                                        "latchkey.v1.KeyAdmin");
  status.add_details()->PackFrom(info);
  return status;
}

void Check(const ServingState& state, UnaryCall& call, const std::string& message) {
  HealthCheckRequest request;
  if (!request.ParseFromString(message)) {
    call.Finish(StatusOf(absl::StatusCode::kUnimplemented, ""), "");
    return;
  }
  const ServingState::Status status = state.StatusOf(request.service());
  if (status == ServingState::Status::kUnknownService) {
    call.Finish(UnknownService(), "");
    return;
  }
  HealthCheckResponse response;
  response.set_status(WireStatusOf(status));
  call.Finish({}, response.SerializeAsString());
}

// One Watch stream.
class HealthWatch final : public StreamHandler,
                          public ServingListener,
                          public std::enable_shared_from_this<HealthWatch> {
 public:
  HealthWatch(ServingState& state, StreamCall& call) : state_(state), call_(call) {}

  void OnMessage(std::string message) override {
    HealthCheckRequest request;
    if (!request.ParseFromString(message)) {
      OnHalfClose();
      return;
    }
    {
      const std::lock_guard lock(mutex_);
      service_ = request.service();
    }
    state_.Subscribe(weak_from_this());
    OnServingChange();
  }
  void OnHalfClose() override { Finish(StatusOf(absl::StatusCode::kUnimplemented, "")); }
  void OnWritten() override {
    {
      const std::lock_guard lock(mutex_);
      writing_ = false;
    }
    OnServingChange();
  }
  void OnCancel() override { Finish(StatusOf(absl::StatusCode::kCancelled, "cancelled")); }
  void OnEnd() override {}

  // Writes the newest state if it is not the one written last; states that came and went meanwhile are left out.
  void OnServingChange() override {
    const std::lock_guard lock(mutex_);
    if (finished_ || writing_) return;
    // In this order: what drains is down before it ends.
    const bool draining = state_.draining();
    const HealthCheckResponse::ServingStatus status = WireStatusOf(state_.StatusOf(service_));
    if (status != written_) {
      written_ = status;
      writing_ = true;
      HealthCheckResponse response;
      response.set_status(status);
      call_.Write(response.SerializeAsString());
    } else if (draining) {
      FinishLocked(StatusOf(absl::StatusCode::kUnavailable, "this server is stopping"));
    }
  }

 private:
  void Finish(const google::rpc::Status& status) {
    const std::lock_guard lock(mutex_);
    FinishLocked(status);
  }
  void FinishLocked(const google::rpc::Status& status) {
    if (!std::exchange(finished_, true)) call_.Finish(status);
  }

  ServingState& state_;
  StreamCall& call_;  // Not after it is finished.
  std::mutex mutex_;
  std::string service_;
  std::optional<HealthCheckResponse::ServingStatus> written_;
  bool writing_ = false;
  bool finished_ = false;
};

}  // namespace

HealthService::HealthService(ServingState& state) : methods_("grpc.health.v1.Health") {
  methods_.AddUnary(
      "Check", [&state](std::unique_ptr<UnaryCall> call, const std::string& request) { Check(state, *call, request); });
  methods_.AddStream(
      "Watch",
      [&state](StreamCall& call) {
        auto watch = std::make_shared<HealthWatch>(state, call);
        call.Read();
        return watch;
      },
      AnonymousClass::kHealth);
}

}  // namespace latchkey::rpc
