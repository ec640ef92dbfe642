#include "server/rpc/reflection_service.h"

#include <memory>
#include <set>
#include <utility>

#include "absl/status/status.h"
#include "google/protobuf/descriptor.pb.h"
#include "grpc/reflection/v1alpha/reflection.pb.h"

namespace latchkey::rpc {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::FileDescriptor;
using grpc::reflection::v1::ServerReflectionRequest;
using grpc::reflection::v1::ServerReflectionResponse;

void SetError(ServerReflectionResponse& response, absl::StatusCode code, const char* message) {
  response.mutable_error_response()->set_error_code(static_cast<int>(code));
  response.mutable_error_response()->set_error_message(message);
}

}  // namespace

// Its hooks alone use it, and they never overlap: so no lock.
class ReflectionService::Stream final : public StreamHandler {
 public:
  Stream(ReflectionService& service, StreamCall& call) : service_(service), call_(call) {}

  void OnMessage(std::string message) override {
    ServerReflectionRequest request;
    if (!request.ParseFromString(message)) {
      Finish(absl::StatusCode::kOk);  // As StreamVerify and Watch end at what is no message.
      return;
    }
    call_.Write(service_.Answer(request).SerializeAsString());
  }
  void OnHalfClose() override { Finish(absl::StatusCode::kOk); }
  void OnWritten() override { call_.Read(); }
  void OnCancel() override { Finish(absl::StatusCode::kCancelled); }
  void OnEnd() override {}

 private:
  void Finish(absl::StatusCode code) {
    google::rpc::Status status;
    status.set_code(static_cast<int>(code));
    call_.Finish(status);
  }

  ReflectionService& service_;
  StreamCall& call_;
};

ReflectionService::ReflectionService(std::vector<std::string> services, const google::protobuf::DescriptorPool& pool)
    : services_(std::move(services)),
      pool_(pool),
      v1_(ServerReflectionRequest::descriptor()->file()->service(0)->full_name()),
      v1alpha_(grpc::reflection::v1alpha::ServerReflectionRequest::descriptor()->file()->service(0)->full_name()) {
  const auto start = [this](StreamCall& call) {
    auto stream = std::make_shared<Stream>(*this, call);
    call.Read();
    return stream;
  };
  v1_.AddStream("ServerReflectionInfo", start, AnonymousClass::kReflection);
  v1alpha_.AddStream("ServerReflectionInfo", start, AnonymousClass::kReflection);
}

ServerReflectionResponse ReflectionService::Answer(const ServerReflectionRequest& request) {
  ServerReflectionResponse response;
  response.set_valid_host(request.host());
  *response.mutable_original_request() = request;
  switch (request.message_request_case()) {
    case ServerReflectionRequest::kFileByFilename:
      if (const FileDescriptor* const file = pool_.FindFileByName(request.file_by_filename())) {
        AddFile(file, response);
      } else {
        SetError(response, absl::StatusCode::kNotFound, "File not found.");
      }
      break;
    case ServerReflectionRequest::kFileContainingSymbol:
      if (const FileDescriptor* const file = pool_.FindFileContainingSymbol(request.file_containing_symbol())) {
        AddFile(file, response);
      } else {
        SetError(response, absl::StatusCode::kNotFound, "Symbol not found.");
      }
      break;
    case ServerReflectionRequest::kFileContainingExtension: {
      const auto& asked = request.file_containing_extension();
      const Descriptor* const type = pool_.FindMessageTypeByName(asked.containing_type());
      const FieldDescriptor* const field =
          type == nullptr ? nullptr : pool_.FindExtensionByNumber(type, asked.extension_number());
      if (field != nullptr) {
        AddFile(field->file(), response);
      } else {
        SetError(response, absl::StatusCode::kNotFound, "Extension not found.");
      }
      break;
    }
    case ServerReflectionRequest::kAllExtensionNumbersOfType:
      if (const Descriptor* const type = pool_.FindMessageTypeByName(request.all_extension_numbers_of_type())) {
        std::vector<const FieldDescriptor*> fields;
        pool_.FindAllExtensions(type, &fields);
        response.mutable_all_extension_numbers_response()->set_base_type_name(type->full_name());
        for (const FieldDescriptor* const field : fields) {
          response.mutable_all_extension_numbers_response()->add_extension_number(field->number());
        }
      } else {
        SetError(response, absl::StatusCode::kNotFound, "Type not found.");
      }
      break;
    case ServerReflectionRequest::kListServices:
      for (const std::string& name : services_)
        response.mutable_list_services_response()->add_service()->set_name(name);
      break;
    case ServerReflectionRequest::MESSAGE_REQUEST_NOT_SET:
      SetError(response, absl::StatusCode::kInvalidArgument, "Invalid MessageRequest.");
      break;
  }
  return response;
}

void ReflectionService::AddFile(const FileDescriptor* file, ServerReflectionResponse& response) {
  std::set<const FileDescriptor*> seen = {file};
  std::vector<const FileDescriptor*> files = {file};
  for (size_t i = 0; i < files.size(); ++i) {
    const FileDescriptor* const one = files[i];
    response.mutable_file_descriptor_response()->add_file_descriptor_proto(Serialized(one));
    for (int d = 0; d < one->dependency_count(); ++d) {
      if (seen.insert(one->dependency(d)).second) files.push_back(one->dependency(d));
    }
  }
}

const std::string& ReflectionService::Serialized(const FileDescriptor* file) {
  const std::lock_guard lock(mutex_);
  std::string& bytes = serialized_[file];
  if (bytes.empty()) {
    google::protobuf::FileDescriptorProto proto;
    file->CopyTo(&proto);
    bytes = proto.SerializeAsString();
  }
  return bytes;
}

}  // namespace latchkey::rpc
