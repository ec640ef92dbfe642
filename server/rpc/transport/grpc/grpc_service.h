#pragma once

#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/impl/rpc_service_method.h>
#include <grpcpp/impl/service_type.h>
#include <grpcpp/support/server_callback.h>

#include <deque>
#include <string>

#include "server/rpc/transport/grpc/grpc_stream.h"
#include "server/rpc/transport/grpc/grpc_unary_call.h"
#include "server/rpc/transport/method_table.h"

namespace latchkey::rpc {

// A service of gRPC's server whose calls a method table answers, as bytes.
class GrpcService final : public grpc::Service {
 public:
  // Both outlive the service.
  GrpcService(const MethodTable& methods, const GrpcCallDependencies& dependencies);

 private:
  std::deque<std::string> names_;  // gRPC keeps pointers into them.
};

// Answers calls of methods that no service has, with UNIMPLEMENTED; charged like any call.
class UnknownMethods final : public grpc::CallbackGenericService {
 public:
  explicit UnknownMethods(const GrpcCallDependencies& dependencies) : dependencies_(dependencies) {}

  grpc::ServerGenericBidiReactor* CreateReactor(grpc::GenericCallbackServerContext* context) override;

 private:
  const GrpcCallDependencies& dependencies_;
};

}  // namespace latchkey::rpc
