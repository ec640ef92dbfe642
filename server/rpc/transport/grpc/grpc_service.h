#pragma once

#include <grpcpp/impl/codegen/server_callback_handlers.h>
#include <grpcpp/support/server_callback.h>

#include <string>

#include "google/protobuf/descriptor.h"
#include "server/rpc/transport/grpc/grpc_stream.h"
#include "server/rpc/transport/grpc/grpc_unary_call.h"
#include "server/rpc/transport/method_table.h"

namespace latchkey::rpc {

// A service of gRPC's server whose calls a method table answers, as bytes. `Generated`: protoc's class of the service,
// which knows its methods' names, and so keeps it findable by reflection.
template <typename Generated>
class GrpcService final : public Generated::Service {
 public:
  // `methods` outlive the service; one that it lacks is UNIMPLEMENTED.
  GrpcService(const google::protobuf::ServiceDescriptor& service, const MethodTable& methods) {
    using grpc::ByteBuffer;
    for (int i = 0; i < service.method_count(); ++i) {
      const MethodTable::Entry* const entry = methods.Find(service.method(i)->name());
      if (entry == nullptr) continue;
      // gRPC owns the handlers.
      if (entry->unary) {
        this->MarkMethodRawCallback(
            i, new grpc::internal::CallbackUnaryHandler<ByteBuffer, ByteBuffer>(
                   [entry](grpc::CallbackServerContext* context, const ByteBuffer* request, ByteBuffer* response) {
                     // Ours to empty: gRPC would keep the bytes until the call is answered, however long that waits.
                     return GrpcUnaryCall::Start(entry->unary, *context, const_cast<ByteBuffer&>(*request), *response);
                   }));
      } else {
        this->MarkMethodRawCallback(i, new grpc::internal::CallbackBidiHandler<ByteBuffer, ByteBuffer>(
                                           [entry](grpc::CallbackServerContext* context) {
                                             return GrpcStream::Start(entry->stream, *context);
                                           }));
      }
    }
  }
};

}  // namespace latchkey::rpc
