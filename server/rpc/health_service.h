#pragma once

#include "server/rpc/serving_state.h"
#include "server/rpc/transport/method_table.h"

namespace latchkey::rpc {

// grpc.health.v1, open to everybody: the state of "" and of each service. Check: NOT_FOUND SERVICE_UNKNOWN for a
// service this server does not have. Watch: tells the newest state, ends with UNAVAILABLE when the server drains; the
// streams are a class of their own (AnonymousClass::kHealth). Thread-safe.
class HealthService {
 public:
  // `state` outlives the service.
  explicit HealthService(ServingState& state);

  const MethodTable& methods() const { return methods_; }

 private:
  MethodTable methods_;
};

}  // namespace latchkey::rpc
