#pragma once

#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "google/protobuf/descriptor.h"
#include "grpc/reflection/v1/reflection.pb.h"
#include "server/rpc/transport/method_table.h"

namespace latchkey::rpc {

// gRPC server reflection (grpc.reflection.v1 and v1alpha, which are the same on the wire), open to everybody, over a
// pool of descriptors. gRPC's own service holds a thread for every open stream. The streams are a class of their own
// (AnonymousClass::kReflection); each reads its next request when the answer before it is gone. Thread-safe.
class ReflectionService {
 public:
  // `services`: full names, as list_services tells them. `pool` outlives the service.
  ReflectionService(std::vector<std::string> services, const google::protobuf::DescriptorPool& pool);

  // A method table each for v1 and v1alpha.
  const MethodTable& v1() const { return v1_; }
  const MethodTable& v1alpha() const { return v1alpha_; }

  // The answer to one request. What is not found is an error_response with NOT_FOUND.
  grpc::reflection::v1::ServerReflectionResponse Answer(const grpc::reflection::v1::ServerReflectionRequest& request);

 private:
  class Stream;

  // `file` with all that it imports, each once.
  void AddFile(const google::protobuf::FileDescriptor* file, grpc::reflection::v1::ServerReflectionResponse& response);
  const std::string& Serialized(const google::protobuf::FileDescriptor* file);

  const std::vector<std::string> services_;
  const google::protobuf::DescriptorPool& pool_;
  std::mutex mutex_;
  std::map<const google::protobuf::FileDescriptor*, std::string> serialized_;
  MethodTable v1_;
  MethodTable v1alpha_;
};

}  // namespace latchkey::rpc
