#include "tests/support/rpc_client.h"

#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace latchkey::testing {
namespace {

template <typename Detail>
Detail DetailFrom(const absl::Status& status, const char* url) {
  Detail detail;
  if (const auto payload = status.GetPayload(url); payload.has_value()) detail.ParseFromString(std::string(*payload));
  return detail;
}

}  // namespace

RpcClient::RpcClient(std::shared_ptr<grpc::Channel> channel, const std::string& key_string)
    : admin_(v1::KeyAdmin::NewStub(channel)),
      verify_(v1::KeyVerify::NewStub(channel)),
      authorization_(key_string.empty() ? "" : "Bearer " + key_string) {}

RpcClient RpcClient::As(const std::string& key_string) const { return WithAuthorization("Bearer " + key_string); }

RpcClient RpcClient::WithAuthorization(const std::string& value) const {
  RpcClient other = *this;
  other.authorization_ = value;
  return other;
}

void RpcClient::Record(const grpc::Status& status, const google::protobuf::Message& response) const {
  if (transcript_ == nullptr) return;
  absl::StrAppend(transcript_, "\n", status.error_message(), "\n", status.error_details(), "\n");
  if (response.GetDescriptor() != v1::CreateKeyResponse::descriptor()) {
    absl::StrAppend(transcript_, response.SerializeAsString());
  }
}

absl::StatusOr<v1::CreateKeyResponse> RpcClient::Create(const std::string& organization,
                                                        const std::string& display_name,
                                                        const std::string& role) const {
  v1::CreateKeyRequest request;
  request.set_parent("organizations/" + organization);
  request.mutable_key()->set_display_name(display_name);
  request.mutable_key()->set_role(role);
  return Call(&v1::KeyAdmin::Stub::CreateKey, request);
}

v1::CreateKeyResponse RpcClient::MustCreate(const std::string& organization, const std::string& display_name,
                                            const std::string& role) const {
  absl::StatusOr<v1::CreateKeyResponse> created = Create(organization, display_name, role);
  EXPECT_TRUE(created.ok()) << created.status();
  return created.ok() ? *std::move(created) : v1::CreateKeyResponse();
}

absl::StatusOr<v1::Key> RpcClient::Get(const std::string& name) const {
  v1::GetKeyRequest request;
  request.set_name(name);
  return Call(&v1::KeyAdmin::Stub::GetKey, request);
}

absl::StatusOr<v1::ListKeysResponse> RpcClient::List(const std::string& organization) const {
  v1::ListKeysRequest request;
  request.set_parent("organizations/" + organization);
  return Call(&v1::KeyAdmin::Stub::ListKeys, request);
}

absl::StatusOr<v1::Key> RpcClient::Rename(const std::string& name, const std::string& display_name) const {
  v1::UpdateKeyRequest request;
  request.mutable_key()->set_name(name);
  request.mutable_key()->set_display_name(display_name);
  request.mutable_update_mask()->add_paths("display_name");
  return Call(&v1::KeyAdmin::Stub::UpdateKey, request);
}

absl::StatusOr<v1::Key> RpcClient::Delete(const std::string& name) const {
  v1::DeleteKeyRequest request;
  request.set_name(name);
  return Call(&v1::KeyAdmin::Stub::DeleteKey, request);
}

absl::StatusOr<v1::Organization> RpcClient::CreateOrganization(const std::string& id) const {
  v1::CreateOrganizationRequest request;
  request.set_organization_id(id);
  return Call(&v1::KeyAdmin::Stub::CreateOrganization, request);
}

absl::StatusOr<v1::VerifyResponse> RpcClient::Verify(const std::string& key_string,
                                                     const std::vector<std::string>& permissions) const {
  v1::VerifyRequest request;
  request.set_key(key_string);
  for (const std::string& permission : permissions) request.add_required_permissions(permission);
  return Call(&v1::KeyVerify::Stub::Verify, request);
}

v1::Decision RpcClient::Decide(const std::string& key_string, const std::vector<std::string>& permissions) const {
  const absl::StatusOr<v1::VerifyResponse> verdict = Verify(key_string, permissions);
  EXPECT_TRUE(verdict.ok()) << verdict.status();
  return verdict.ok() ? verdict->decision() : v1::DECISION_UNSPECIFIED;
}

std::string WireReasonOf(const absl::Status& status) {
  const auto info = DetailFrom<google::rpc::ErrorInfo>(status, client::kErrorInfoUrl);
  return info.domain() == "latchkey.dev" ? info.reason() : "";
}

std::string WireFieldOf(const absl::Status& status) {
  const auto bad = DetailFrom<google::rpc::BadRequest>(status, client::kBadRequestUrl);
  return bad.field_violations_size() == 1 ? bad.field_violations(0).field() : "";
}

std::string WireMetadataOf(const absl::Status& status, const std::string& name) {
  const auto info = DetailFrom<google::rpc::ErrorInfo>(status, client::kErrorInfoUrl);
  const auto found = info.metadata().find(name);
  return found == info.metadata().end() ? "" : found->second;
}

}  // namespace latchkey::testing
