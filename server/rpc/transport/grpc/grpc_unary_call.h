#pragma once

#include <grpcpp/server_context.h>
#include <grpcpp/support/server_callback.h>

#include <memory>
#include <string>
#include <utility>

#include "server/rpc/transport/grpc/grpc_context.h"
#include "server/rpc/transport/method_table.h"

namespace latchkey::rpc {

// A unary call of gRPC's server. gRPC frees what it holds once it is finished.
class GrpcUnaryCall final : public GrpcContext<UnaryCall> {
 public:
  // What gRPC's raw method handler calls.
  static grpc::ServerUnaryReactor* Start(const MethodTable::StartUnary& start, grpc::CallbackServerContext& context,
                                         grpc::ByteBuffer& request, grpc::ByteBuffer& response) {
    grpc::ServerUnaryReactor* const reactor = context.DefaultReactor();
    if (!request.Valid()) {
      // The client half-closed without a message: answered as gRPC's own classes do.
      reactor->Finish(grpc::Status(grpc::StatusCode::UNIMPLEMENTED, ""));
      return reactor;
    }
    start(std::make_unique<GrpcUnaryCall>(context, *reactor, response), TakeBytes(request));
    return reactor;
  }

  GrpcUnaryCall(grpc::CallbackServerContext& context, grpc::ServerUnaryReactor& reactor, grpc::ByteBuffer& response)
      : GrpcContext(context), reactor_(reactor), response_(response) {}

  void Finish(const google::rpc::Status& status, std::string response) override {
    if (status.code() == 0) response_ = BufferOf(std::move(response));
    reactor_.Finish(GrpcStatusOf(status));
  }

 private:
  grpc::ServerUnaryReactor& reactor_;
  grpc::ByteBuffer& response_;
};

}  // namespace latchkey::rpc
