#pragma once

#include <gmock/gmock.h>
#include <grpcpp/channel.h>

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/src/convert.h"
#include "grpcpp/client_context.h"
#include "latchkey/v1/key_admin.grpc.pb.h"
#include "latchkey/v1/key_verify.grpc.pb.h"

namespace latchkey::testing {

// Both services through the generated stubs in one caller's name, as a foreign client would use them. Errors keep their
// google.rpc details (see Refused below). Copies share the channel and the transcript. Thread-safe without a
// transcript.
class RpcClient {
 public:
  // `key_string` "" sends no credentials.
  RpcClient(std::shared_ptr<grpc::Channel> channel, const std::string& key_string);

  RpcClient As(const std::string& key_string) const;
  // Sends this as the whole of `authorization`.
  RpcClient WithAuthorization(const std::string& value) const;
  // Everything answered from now on is appended to `into`, but for CreateKey's answers: errors with all their details,
  // and answers.
  void RecordInto(std::string* into) { transcript_ = into; }
  void SetTimeout(absl::Duration timeout) { timeout_ = timeout; }

  template <typename Request, typename Response>
  absl::StatusOr<Response> Call(grpc::Status (v1::KeyAdmin::Stub::*method)(grpc::ClientContext*, const Request&,
                                                                           Response*),
                                const Request& request) const {
    return CallOn(*admin_, method, request);
  }
  template <typename Request, typename Response>
  absl::StatusOr<Response> Call(grpc::Status (v1::KeyVerify::Stub::*method)(grpc::ClientContext*, const Request&,
                                                                            Response*),
                                const Request& request) const {
    return CallOn(*verify_, method, request);
  }

  // The calls that most tests make. Organizations and roles by id, keys by resource name.
  absl::StatusOr<v1::CreateKeyResponse> Create(const std::string& organization, const std::string& display_name,
                                               const std::string& role) const;
  // Fails the test and returns an empty answer if it is refused.
  v1::CreateKeyResponse MustCreate(const std::string& organization, const std::string& display_name,
                                   const std::string& role) const;
  absl::StatusOr<v1::Key> Get(const std::string& name) const;
  absl::StatusOr<v1::ListKeysResponse> List(const std::string& organization) const;
  absl::StatusOr<v1::Key> Rename(const std::string& name, const std::string& display_name) const;
  absl::StatusOr<v1::Key> Delete(const std::string& name) const;
  absl::StatusOr<v1::Organization> CreateOrganization(const std::string& id) const;
  absl::StatusOr<v1::VerifyResponse> Verify(const std::string& key_string,
                                            const std::vector<std::string>& permissions = {}) const;
  // Verify's verdict; fails the test if there is none.
  v1::Decision Decide(const std::string& key_string, const std::vector<std::string>& permissions = {}) const;

 private:
  template <typename Stub, typename Request, typename Response>
  absl::StatusOr<Response> CallOn(Stub& stub,
                                  grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                                  const Request& request) const {
    grpc::ClientContext context;
    if (!authorization_.empty()) context.AddMetadata("authorization", authorization_);
    context.set_deadline(std::chrono::system_clock::now() + absl::ToChronoMilliseconds(timeout_));
    Response response;
    const grpc::Status status = (stub.*method)(&context, request, &response);
    Record(status, response);
    if (!status.ok()) return client::ToStatus(status);
    return response;
  }
  void Record(const grpc::Status& status, const google::protobuf::Message& response) const;

  std::shared_ptr<v1::KeyAdmin::Stub> admin_;
  std::shared_ptr<v1::KeyVerify::Stub> verify_;
  std::string authorization_;
  absl::Duration timeout_ = absl::Seconds(10);
  std::string* transcript_ = nullptr;
};

// What the details of an error from the wire say, "" if nothing.
std::string WireReasonOf(const absl::Status& status);
std::string WireFieldOf(const absl::Status& status);
std::string WireMetadataOf(const absl::Status& status, const std::string& name);

inline const absl::Status& WireStatusOf(const absl::Status& status) { return status; }
template <typename T>
const absl::Status& WireStatusOf(const absl::StatusOr<T>& result) {
  return result.status();
}

// An error from the wire with this code and this ErrorInfo.reason.
MATCHER_P2(Refused, code, reason,
           std::string(negation ? "is not " : "is ") + absl::StatusCodeToString(code) + " " +
               ::testing::PrintToString(reason)) {
  const absl::Status& status = WireStatusOf(arg);
  *result_listener << "which is " << absl::StatusCodeToString(status.code()) << " " << WireReasonOf(status) << ": "
                   << std::string(status.message());
  return status.code() == code && WireReasonOf(status) == reason;
}

// INVALID_ARGUMENT with this reason, about this field.
MATCHER_P2(RefusedField, reason, field,
           std::string(negation ? "is not " : "is ") + ::testing::PrintToString(reason) + " of field " +
               ::testing::PrintToString(field)) {
  const absl::Status& status = WireStatusOf(arg);
  *result_listener << "which is " << absl::StatusCodeToString(status.code()) << " " << WireReasonOf(status) << " of \""
                   << WireFieldOf(status) << "\": " << std::string(status.message());
  return status.code() == absl::StatusCode::kInvalidArgument && WireReasonOf(status) == reason &&
         WireFieldOf(status) == field;
}

}  // namespace latchkey::testing
