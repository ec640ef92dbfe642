#include "server/rpc/health_service.h"

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
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

grpc::Status UnknownService() {
  google::rpc::ErrorInfo info;
  info.set_reason("SERVICE_UNKNOWN");
  info.set_domain(kErrorDomain);
  google::rpc::Status status;
  status.set_code(grpc::StatusCode::NOT_FOUND);
  status.set_message("unknown service; known are \"\", latchkey.v1.KeyVerify and latchkey.v1.KeyAdmin");
  status.add_details()->PackFrom(info);
  return grpc::Status(grpc::StatusCode::NOT_FOUND, status.message(), status.SerializeAsString());
}

// One Watch stream. Keeps itself alive until OnDone.
class HealthWatch final : public grpc::ServerWriteReactor<HealthCheckResponse>, public ServingListener {
 public:
  static HealthWatch* Start(ServingState& state, std::string service) {
    auto watch = std::make_shared<HealthWatch>(state, std::move(service));
    watch->self_ = watch;
    state.Subscribe(watch);
    watch->OnServingChange();
    return watch.get();
  }

  HealthWatch(ServingState& state, std::string service) : state_(state), service_(std::move(service)) {}

  // Writes the newest state if it is not the one written last; states that came and went meanwhile are left out.
  void OnServingChange() override {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (finished_ || writing_) return;
    // In this order: what drains is down before it ends.
    const bool draining = state_.draining();
    const HealthCheckResponse::ServingStatus status = WireStatusOf(state_.StatusOf(service_));
    if (status != written_) {
      written_ = status;
      writing_ = true;
      response_.set_status(status);
      StartWrite(&response_);
    } else if (draining) {
      FinishLocked(grpc::Status(grpc::StatusCode::UNAVAILABLE, "this server is stopping"));
    }
  }

  void OnWriteDone(bool ok) override {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      writing_ = false;
      if (!ok) {
        FinishLocked(grpc::Status::CANCELLED);
        return;
      }
    }
    OnServingChange();
  }

  void OnCancel() override {
    const std::lock_guard<std::mutex> lock(mutex_);
    FinishLocked(grpc::Status::CANCELLED);
  }

  void OnDone() override {
    // ServingState may be telling us something right now; it holds a reference of its own.
    const std::shared_ptr<HealthWatch> last = std::move(self_);
  }

 private:
  void FinishLocked(const grpc::Status& status) {
    if (std::exchange(finished_, true)) return;
    Finish(status);
  }

  ServingState& state_;
  const std::string service_;
  std::shared_ptr<HealthWatch> self_;
  std::mutex mutex_;
  std::optional<HealthCheckResponse::ServingStatus> written_;
  HealthCheckResponse response_;
  bool writing_ = false;
  bool finished_ = false;
};

}  // namespace

grpc::ServerUnaryReactor* HealthService::Check(grpc::CallbackServerContext* context, const HealthCheckRequest* request,
                                               HealthCheckResponse* response) {
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  const ServingState::Status status = state_.StatusOf(request->service());
  if (status == ServingState::Status::kUnknownService) {
    reactor->Finish(UnknownService());
  } else {
    response->set_status(WireStatusOf(status));
    reactor->Finish(grpc::Status::OK);
  }
  return reactor;
}

grpc::ServerWriteReactor<HealthCheckResponse>* HealthService::Watch(grpc::CallbackServerContext* /*context*/,
                                                                    const HealthCheckRequest* request) {
  return HealthWatch::Start(state_, request->service());
}

}  // namespace latchkey::rpc
