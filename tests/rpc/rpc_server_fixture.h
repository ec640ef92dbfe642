#pragma once

#include <gmock/gmock.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "latchkey/v1/key_admin.grpc.pb.h"
#include "latchkey/v1/key_verify.grpc.pb.h"
#include "server/keys/replication/revocation_waiter.h"
#include "server/rpc/rpc_server.h"
#include "tests/support/memory_service.h"

namespace latchkey::rpc {

constexpr auto kPatience = std::chrono::seconds(30);
// Of each kind that the server under test takes. One connection may have 100 at a time.
constexpr size_t kStreams = 100;

inline std::string ReasonOf(const grpc::Status& status) {
  google::rpc::Status details;
  google::rpc::ErrorInfo info;
  if (!details.ParseFromString(status.error_details())) return "";
  if (details.details().empty() || !details.details(0).UnpackTo(&info)) return "";
  return info.reason();
}

// The field that a status with details blames, "" if none.
inline std::string FieldOf(const google::rpc::Status& details) {
  google::rpc::BadRequest bad_request;
  for (const auto& detail : details.details()) {
    if (detail.UnpackTo(&bad_request) && !bad_request.field_violations().empty()) {
      return bad_request.field_violations(0).field();
    }
  }
  return "";
}
inline std::string FieldOf(const grpc::Status& status) {
  google::rpc::Status details;
  return details.ParseFromString(status.error_details()) ? FieldOf(details) : "";
}

MATCHER_P2(Fails, code, reason, "") {
  *result_listener << "which is " << arg.error_code() << " " << ReasonOf(arg) << ": " << arg.error_message();
  return arg.error_code() == code && ReasonOf(arg) == reason;
}

MATCHER_P(BlamesField, field, "") {
  *result_listener << "which is " << arg.error_code() << " about \"" << FieldOf(arg) << "\": " << arg.error_message();
  return arg.error_code() == grpc::StatusCode::INVALID_ARGUMENT && FieldOf(arg) == field;
}

MATCHER(Succeeds, "") {
  *result_listener << "which is " << arg.error_code() << " " << ReasonOf(arg) << ": " << arg.error_message();
  return arg.ok();
}

// Polls until `condition` holds; false after kPatience.
template <typename Condition>
bool Eventually(const Condition& condition) {
  const auto end = std::chrono::steady_clock::now() + kPatience;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::yield();
  }
  return true;
}

// The whole of server/rpc over a real connection, on a store in memory and clocks driven by hand.
class RpcServerFixture : public ::testing::Test {
 protected:
  using MemoryService = ::latchkey::testing::MemoryService;

  explicit RpcServerFixture(MemoryService::Proofs proofs = MemoryService::Proofs::kShared) : service_(proofs) {}

  void SetUp() override {
    operator_key_ = std::string(service_.system_owner_string.Expose());
    acme_key_ = std::string(service_.acme_owner_string.Expose());
    keys::IssuedKey verifier = service_.MustCreate(service_.system_owner, "system", "verifier");
    verifier_kid_ = verifier.key.kid;
    verifier_key_ = std::string(verifier.key_string.Expose());
    ASSERT_TRUE(service_.follower.Renew().ok());
    const absl::StatusOr<int> port = server_.Start();
    ASSERT_TRUE(port.ok()) << port.status();
    port_ = *port;
    channel_ = grpc::CreateChannel("127.0.0.1:" + std::to_string(port_), grpc::InsecureChannelCredentials());
    admin_ = v1::KeyAdmin::NewStub(channel_);
    verify_ = v1::KeyVerify::NewStub(channel_);
    health_ = grpc::health::v1::Health::NewStub(channel_);
  }

  // A context that carries `key`, unless it is empty.
  static std::unique_ptr<grpc::ClientContext> With(const std::string& key) {
    auto context = std::make_unique<grpc::ClientContext>();
    if (!key.empty()) context->AddMetadata("authorization", "Bearer " + key);
    context->set_deadline(std::chrono::system_clock::now() + kPatience);
    return context;
  }

  grpc::Status Verify(const std::string& caller, const std::string& key, v1::VerifyResponse* response) {
    v1::VerifyRequest request;
    request.set_key(key);
    return Verify(caller, request, response);
  }
  grpc::Status Verify(const std::string& caller, const v1::VerifyRequest& request, v1::VerifyResponse* response) {
    return verify_->Verify(With(caller).get(), request, response);
  }

  grpc::Status Create(const std::string& caller, const std::string& parent, const std::string& role,
                      v1::CreateKeyResponse* response, const std::vector<std::string>& allowed_cidrs = {}) {
    v1::CreateKeyRequest request;
    request.set_parent(parent);
    request.mutable_key()->set_display_name("made");
    request.mutable_key()->set_role(role);
    for (const std::string& block : allowed_cidrs) request.mutable_key()->add_allowed_cidrs(block);
    return admin_->CreateKey(With(caller).get(), request, response);
  }
  // A key of acme.
  v1::CreateKeyResponse MustCreate(const std::string& role, const std::vector<std::string>& allowed_cidrs = {}) {
    v1::CreateKeyResponse created;
    EXPECT_THAT(Create(acme_key_, "organizations/acme", role, &created, allowed_cidrs), Succeeds());
    return created;
  }
  v1::Key MustDelete(const std::string& caller, const std::string& name) {
    v1::DeleteKeyRequest request;
    request.set_name(name);
    v1::Key key;
    EXPECT_THAT(admin_->DeleteKey(With(caller).get(), request, &key), Succeeds());
    return key;
  }

  RpcServer::Domain Domain(keys::KeyVerifier& verifier) {
    return {.keys = service_.registry,
            .organizations = service_.organizations,
            .roles = service_.roles,
            .verifier = verifier,
            .ring = service_.ring,
            .index = service_.index,
            .follower = service_.follower,
            .hub = service_.hub,
            .uses = service_.uses,
            .revocations = revocations_,
            .clock = service_.clock,
            .serving = serving_};
  }

  MemoryService service_;
  keys::RevocationWaiter revocations_{service_.store, service_.follower, nullptr, service_.clock,
                                      [](absl::Duration /*pause*/) { std::this_thread::yield(); }};
  ServingState serving_;
  RpcServer server_{Domain(service_.verifier), {.listen = "127.0.0.1:0", .streams = kStreams}};
  int port_ = 0;
  std::string operator_key_;
  std::string verifier_key_;
  std::string verifier_kid_;
  std::string acme_key_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::KeyAdmin::Stub> admin_;
  std::unique_ptr<v1::KeyVerify::Stub> verify_;
  std::unique_ptr<grpc::health::v1::Health::Stub> health_;
};

// Another server on the same database: what it writes, this one hears of by the log alone.
class OtherServer {
 public:
  explicit OtherServer(::latchkey::testing::MemoryService& service)
      : service_(service), follower_(service.store, index_, hub_, service.clock, {.replica = "other"}) {
    EXPECT_TRUE(follower_.Renew().ok());
  }
  core::RevisionToken Delete(const v1::Key& key) {
    const std::optional<core::KeyName> name = core::ParseKeyName(key.name());
    const auto deleted = registry_.Delete(service_.system_owner, {name->organization, name->kid, "", {}});
    EXPECT_TRUE(deleted.ok()) << deleted.status();
    return deleted.ok() ? deleted->revision : core::RevisionToken();
  }
  keys::LogFollower& follower() { return follower_; }

 private:
  ::latchkey::testing::MemoryService& service_;
  keys::KeyIndex index_;
  keys::WatchHub hub_;
  keys::LogFollower follower_;
  keys::KeyRegistry registry_{service_.store, service_.store, index_, follower_, service_.minter, service_.clock, {}};
};

}  // namespace latchkey::rpc
