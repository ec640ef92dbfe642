#include "server/rpc/transport/grpc/grpc_service.h"

#include "absl/strings/str_cat.h"

namespace latchkey::rpc {

GrpcService::GrpcService(const MethodTable& methods, const GrpcCallDependencies& dependencies) {
  using Handler = grpc::internal::CallbackBidiHandler<grpc::ByteBuffer, grpc::ByteBuffer>;
  int index = 0;
  for (const MethodTable::Entry& entry : methods.entries()) {
    names_.push_back(absl::StrCat("/", methods.service(), "/", entry.method));
    // gRPC owns method and handler.
    AddMethod(new grpc::internal::RpcServiceMethod(names_.back().c_str(), grpc::internal::RpcMethod::BIDI_STREAMING,
                                                   nullptr));
    MarkMethodRawCallback(index++, new Handler([&entry, &dependencies](grpc::CallbackServerContext* context) {
                            return entry.unary ? GrpcUnaryCall::Start(dependencies, entry, *context)
                                               : GrpcStream::Start(dependencies, entry, *context);
                          }));
  }
}

grpc::ServerGenericBidiReactor* UnknownMethods::CreateReactor(grpc::GenericCallbackServerContext* context) {
  google::rpc::Status unimplemented;
  unimplemented.set_code(static_cast<int>(grpc::StatusCode::UNIMPLEMENTED));
  return GrpcStream::Refuse(dependencies_, unimplemented, *context);
}

}  // namespace latchkey::rpc
