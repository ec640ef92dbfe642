#pragma once

#include <grpcpp/server_context.h>
#include <grpcpp/support/server_callback.h>

#include <string>

#include "server/rpc/transport/grpc/grpc_context.h"
#include "server/rpc/transport/message_deadlines.h"
#include "server/rpc/transport/method_table.h"

namespace latchkey::rpc {

// A unary call of gRPC's server. For gRPC it is a stream, because a unary method's handler hears of a call only when
// its message has come: calls whose message does not come could be neither counted nor ended. Lives from Start to
// OnDone.
class GrpcUnaryCall final : public GrpcContext<UnaryCall>,
                            private AwaitsMessage,
                            private grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer> {
 public:
  using Reactor = grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>;

  // What gRPC's raw method handler calls.
  static Reactor* Start(const GrpcCallDependencies& dependencies, const MethodTable::Entry& entry,
                        grpc::CallbackServerContext& context);

  void SetCaller(const std::string& organization, const std::string& kid) override {
    charge().SetCaller(organization, kid);
  }
  void Finish(const google::rpc::Status& status, std::string response) override;

 private:
  class Handle;

  GrpcUnaryCall(const GrpcCallDependencies& dependencies, const MethodTable::Entry& entry,
                grpc::CallbackServerContext& context)
      : GrpcContext(dependencies, context, entry.before_caller), entry_(entry) {}

  void OnReadDone(bool ok) override;
  void OnMessageOverdue() override;
  void OnDone() override { delete this; }
  // The reactions are short, and OnDone needs no lock: so no thread of gRPC's executor.
  bool InternalInlineable() override { return true; }

  void FinishWith(const absl::Status& status);

  const MethodTable::Entry& entry_;
  grpc::ByteBuffer message_;  // What is read, then what is written.
};

}  // namespace latchkey::rpc
