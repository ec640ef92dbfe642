#pragma once

#include "grpc/health/v1/health.grpc.pb.h"
#include "server/rpc/serving_state.h"

namespace latchkey::rpc {

// grpc.health.v1, open to everybody: the state of "" and of each service. gRPC's own health service can't be found by
// reflection clients, hence this one. Watch streams end with UNAVAILABLE when the server drains. Thread-safe.
class HealthService final : public grpc::health::v1::Health::CallbackService {
 public:
  // `state` outlives the service.
  explicit HealthService(ServingState& state) : state_(state) {}

  // NOT_FOUND SERVICE_UNKNOWN for a service this server does not have.
  grpc::ServerUnaryReactor* Check(grpc::CallbackServerContext* context,
                                  const grpc::health::v1::HealthCheckRequest* request,
                                  grpc::health::v1::HealthCheckResponse* response) override;
  grpc::ServerWriteReactor<grpc::health::v1::HealthCheckResponse>* Watch(
      grpc::CallbackServerContext* context, const grpc::health::v1::HealthCheckRequest* request) override;

 private:
  ServingState& state_;
};

}  // namespace latchkey::rpc
