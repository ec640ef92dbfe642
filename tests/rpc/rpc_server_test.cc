#include "server/rpc/rpc_server.h"

#include <gmock/gmock.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "tests/rpc/rpc_server_fixture.h"

// The wrapper around every RPC, over a real connection, with a store in memory.
namespace latchkey::rpc {
namespace {

using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;

// No secret is proven but those that this server has met.
class RpcServerTest : public RpcServerFixture {
 protected:
  RpcServerTest() : RpcServerFixture(MemoryService::Proofs::kMemory) {}
};

TEST_F(RpcServerTest, KeyIsIssuedVerifiedRenamedAndRevoked) {
  v1::CreateKeyResponse created;
  ASSERT_TRUE(Create(acme_key_, "organizations/acme", "editor", &created).ok());
  EXPECT_EQ(created.key().state(), v1::Key::STATE_ACTIVE);
  v1::VerifyResponse verdict;
  ASSERT_TRUE(Verify(verifier_key_, created.key_string(), &verdict).ok());
  EXPECT_EQ(verdict.decision(), v1::DECISION_ALLOWED);
  EXPECT_EQ(verdict.identity().name(), created.key().name());

  v1::UpdateKeyRequest rename;
  rename.mutable_key()->set_name(created.key().name());
  rename.mutable_key()->set_display_name("renamed");
  v1::Key key;
  ASSERT_TRUE(admin_->UpdateKey(With(acme_key_).get(), rename, &key).ok());
  EXPECT_EQ(key.display_name(), "renamed");

  v1::DeleteKeyRequest removal;
  removal.set_name(created.key().name());
  ASSERT_TRUE(admin_->DeleteKey(With(acme_key_).get(), removal, &key).ok());
  EXPECT_EQ(key.state(), v1::Key::STATE_DELETED);
  ASSERT_TRUE(Verify(verifier_key_, created.key_string(), &verdict).ok());
  EXPECT_EQ(verdict.decision(), v1::DECISION_REVOKED);
}

TEST_F(RpcServerTest, CallWithoutGoodCredentialsIsUnauthenticated) {
  v1::VerifyResponse verdict;
  EXPECT_THAT(Verify("", "x", &verdict), Fails(grpc::StatusCode::UNAUTHENTICATED, "CREDENTIALS_MISSING"));
  EXPECT_THAT(Verify("garbage", "x", &verdict), Fails(grpc::StatusCode::UNAUTHENTICATED, "CREDENTIALS_INVALID"));
  auto twice = With(verifier_key_);
  twice->AddMetadata("authorization", "Bearer " + verifier_key_);
  EXPECT_THAT(verify_->Verify(twice.get(), v1::VerifyRequest(), &verdict),
              Fails(grpc::StatusCode::UNAUTHENTICATED, "CREDENTIALS_INVALID"));
  v1::Key key;
  EXPECT_THAT(admin_->GetKey(With("").get(), v1::GetKeyRequest(), &key),
              Fails(grpc::StatusCode::UNAUTHENTICATED, "CREDENTIALS_MISSING"));
}

TEST_F(RpcServerTest, PermissionIsCheckedBeforeTheRequestAndBeforeExistence) {
  v1::CreateKeyResponse viewer;
  ASSERT_TRUE(Create(acme_key_, "organizations/acme", "viewer", &viewer).ok());
  v1::GetKeyRequest request;
  request.set_name("nonsense");
  v1::Key key;
  EXPECT_THAT(admin_->GetKey(With(viewer.key_string()).get(), request, &key),
              Fails(grpc::StatusCode::PERMISSION_DENIED, "PERMISSION_MISSING"));
  v1::VerifyResponse verdict;
  EXPECT_THAT(Verify(viewer.key_string(), "x", &verdict),
              Fails(grpc::StatusCode::PERMISSION_DENIED, "PERMISSION_MISSING"));
}

TEST_F(RpcServerTest, AnotherOrganizationsResourceIsNotFound) {
  v1::CreateKeyResponse created;
  EXPECT_THAT(Create(acme_key_, "organizations/system", "viewer", &created),
              Fails(grpc::StatusCode::NOT_FOUND, "ORGANIZATION_NOT_FOUND"));
}

TEST_F(RpcServerTest, OutageIsNeitherADenialNorABadCredential) {
  service_.clock.Advance(absl::Hours(1));
  v1::VerifyResponse verdict;
  EXPECT_THAT(Verify(verifier_key_, operator_key_, &verdict), Fails(grpc::StatusCode::UNAVAILABLE, "LEASE_EXPIRED"));
  ASSERT_TRUE(service_.follower.Renew().ok());
  service_.store.SetUnavailable(true);
  v1::CreateKeyResponse created;
  EXPECT_THAT(Create(acme_key_, "organizations/acme", "viewer", &created),
              Fails(grpc::StatusCode::UNAVAILABLE, "DATABASE_UNAVAILABLE"));
}

TEST_F(RpcServerTest, BatchAnswersEachQuestionInOrderWhateverItsNeighbours) {
  v1::BatchVerifyRequest request;
  request.add_requests()->set_key(operator_key_);  // Not proven yet: goes through Argon2.
  request.add_requests()->set_key("garbage");
  request.add_requests()->mutable_client()->set_ip("nowhere");
  v1::VerifyRequest* lacking = request.add_requests();
  lacking->set_key(verifier_key_);
  lacking->add_required_permissions("app.read");
  request.add_requests()->set_key(acme_key_);
  v1::BatchVerifyResponse response;
  const grpc::Status status = verify_->BatchVerify(With(verifier_key_).get(), request, &response);
  ASSERT_TRUE(status.ok()) << status.error_message();
  ASSERT_EQ(response.results_size(), 5);
  EXPECT_EQ(response.results(0).response().decision(), v1::DECISION_ALLOWED);
  EXPECT_EQ(response.results(1).response().decision(), v1::DECISION_MALFORMED);
  EXPECT_EQ(response.results(2).error().code(), grpc::StatusCode::INVALID_ARGUMENT);
  google::rpc::BadRequest bad_request;
  ASSERT_EQ(response.results(2).error().details_size(), 2);
  ASSERT_TRUE(response.results(2).error().details(1).UnpackTo(&bad_request));
  EXPECT_EQ(bad_request.field_violations(0).field(), "requests[2].client.ip");
  EXPECT_EQ(response.results(3).response().decision(), v1::DECISION_PERMISSION_DENIED);
  EXPECT_EQ(response.results(4).response().identity().organization(), "acme");
}

TEST_F(RpcServerTest, CallThatWouldWaitTooLongForAHashIsRefusedAtOnceWithARetryTime) {
  keys::SecretChecker checker(service_.store, service_.index, service_.ring, service_.hashes, service_.clock,
                              {.patience = absl::ZeroDuration(), .shared = false});
  keys::KeyVerifier verifier(service_.index, service_.ring, checker, service_.clock);
  RpcServer impatient(Domain(verifier), {.listen = "127.0.0.1:0"});
  const absl::StatusOr<int> port = impatient.Start();
  ASSERT_TRUE(port.ok()) << port.status();
  const auto channel = grpc::CreateChannel("127.0.0.1:" + std::to_string(*port), grpc::InsecureChannelCredentials());
  const auto verify = v1::KeyVerify::NewStub(channel);
  v1::VerifyRequest request;
  request.set_key(acme_key_);
  v1::VerifyResponse verdict;
  // The caller's own key is not proven yet.
  const grpc::Status refused = verify->Verify(With(operator_key_).get(), request, &verdict);
  EXPECT_THAT(refused, Fails(grpc::StatusCode::RESOURCE_EXHAUSTED, "HASH_POOL_FULL"));
  google::rpc::Status details;
  google::rpc::RetryInfo retry;
  ASSERT_TRUE(details.ParseFromString(refused.error_details()));
  ASSERT_EQ(details.details_size(), 2);
  EXPECT_TRUE(details.details(1).UnpackTo(&retry));
  // Once it is, only the key in question waits.
  ASSERT_TRUE(Verify(operator_key_, "x", &verdict).ok());
  EXPECT_THAT(verify->Verify(With(operator_key_).get(), request, &verdict),
              Fails(grpc::StatusCode::RESOURCE_EXHAUSTED, "HASH_POOL_FULL"));
  request.set_key(operator_key_);
  EXPECT_TRUE(verify->Verify(With(operator_key_).get(), request, &verdict).ok());
}

TEST_F(RpcServerTest, ManyUnprovenCallsAtOnceAreEachAnsweredOnce) {
  std::atomic<int> allowed{0};
  std::vector<std::thread> callers;
  for (int i = 0; i < 8; ++i) {
    callers.emplace_back([&] {
      for (int j = 0; j < 20; ++j) {
        v1::VerifyResponse verdict;
        const grpc::Status status = Verify(verifier_key_, acme_key_, &verdict);
        if (status.ok() && verdict.decision() == v1::DECISION_ALLOWED) ++allowed;
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(allowed.load(), 160);
}

TEST_F(RpcServerTest, ListGoesOnFromPageToPageAndTheTokenBelongsToItsCaller) {
  for (int i = 0; i < 4; ++i) {
    v1::CreateKeyResponse created;
    ASSERT_TRUE(Create(acme_key_, "organizations/acme", "viewer", &created).ok());
  }
  v1::ListKeysRequest request;
  request.set_parent("organizations/acme");
  request.set_page_size(2);
  std::vector<std::string> names;
  std::string second_token;
  do {
    v1::ListKeysResponse page;
    ASSERT_TRUE(admin_->ListKeys(With(acme_key_).get(), request, &page).ok());
    EXPECT_LE(page.keys_size(), 2);
    for (const v1::Key& key : page.keys()) names.push_back(key.name());
    request.set_page_token(page.next_page_token());
    if (second_token.empty()) second_token = page.next_page_token();
  } while (!request.page_token().empty());
  EXPECT_EQ(std::set<std::string>(names.begin(), names.end()).size(), 5u);
  EXPECT_EQ(names.size(), 5u);

  request.set_page_token(second_token);
  v1::ListKeysResponse page;
  EXPECT_THAT(admin_->ListKeys(With(operator_key_).get(), request, &page),
              Fails(grpc::StatusCode::INVALID_ARGUMENT, "PAGE_TOKEN_INVALID"));
  request.set_page_token("nonsense");
  EXPECT_THAT(admin_->ListKeys(With(acme_key_).get(), request, &page),
              Fails(grpc::StatusCode::INVALID_ARGUMENT, "PAGE_TOKEN_INVALID"));
}

TEST_F(RpcServerTest, RolesAndOrganizationsAreListedPageByPage) {
  v1::ListRolesRequest roles;
  roles.set_parent("organizations/acme");
  roles.set_page_size(2);
  std::vector<std::string> names;
  do {
    v1::ListRolesResponse page;
    ASSERT_TRUE(admin_->ListRoles(With(acme_key_).get(), roles, &page).ok());
    for (const v1::Role& role : page.roles()) names.push_back(role.name());
    roles.set_page_token(page.next_page_token());
  } while (!roles.page_token().empty());
  EXPECT_EQ(names.size(), 5u);

  v1::CreateOrganizationRequest create;
  create.set_organization_id("beta");
  v1::Organization organization;
  ASSERT_TRUE(admin_->CreateOrganization(With(operator_key_).get(), create, &organization).ok());
  EXPECT_THAT(admin_->CreateOrganization(With(operator_key_).get(), create, &organization),
              Fails(grpc::StatusCode::ALREADY_EXISTS, "ORGANIZATION_EXISTS"));
  EXPECT_THAT(admin_->CreateOrganization(With(acme_key_).get(), create, &organization),
              Fails(grpc::StatusCode::PERMISSION_DENIED, "PERMISSION_MISSING"));
  v1::GetOrganizationRequest get;
  get.set_name("organizations/beta");
  ASSERT_TRUE(admin_->GetOrganization(With(operator_key_).get(), get, &organization).ok());
  EXPECT_EQ(organization.display_name(), "beta");
  v1::ListOrganizationsRequest list;
  list.set_page_size(1);
  std::vector<std::string> organizations;
  do {
    v1::ListOrganizationsResponse page;
    ASSERT_TRUE(admin_->ListOrganizations(With(operator_key_).get(), list, &page).ok());
    for (const v1::Organization& one : page.organizations()) organizations.push_back(one.name());
    list.set_page_token(page.next_page_token());
  } while (!list.page_token().empty());
  EXPECT_THAT(organizations,
              ::testing::ElementsAre("organizations/acme", "organizations/beta", "organizations/system"));
}

TEST_F(RpcServerTest, RequestAboveTheLimitIsRefusedByTheTransport) {
  v1::VerifyResponse verdict;
  EXPECT_EQ(Verify(verifier_key_, std::string(1 << 20, 'x'), &verdict).error_code(),
            grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_TRUE(Verify(verifier_key_, "short", &verdict).ok());
}

TEST_F(RpcServerTest, CompressedRequestIsRefusedBeforeItIsInflated) {
  const auto context = With(verifier_key_);
  context->set_compression_algorithm(GRPC_COMPRESS_GZIP);
  v1::VerifyRequest request;
  request.set_key(std::string(32 << 20, 'x'));  // About 32 KiB of gzip.
  v1::VerifyResponse verdict;
  // RESOURCE_EXHAUSTED would mean that it was inflated and then found too large.
  EXPECT_EQ(verify_->Verify(context.get(), request, &verdict).error_code(), grpc::StatusCode::UNIMPLEMENTED);
}

// StreamVerify streams that stay open on a connection of their own.
class OpenStreams {
 public:
  OpenStreams(const std::string& address, std::string key)
      : key_(std::move(key)), stub_(v1::KeyVerify::NewStub(ChannelOfItsOwn(address))) {}
  ~OpenStreams() {
    for (Open& one : open_) one.context->TryCancel();
    for (Open& one : open_) one.stream->Finish();
  }
  // Opens one more and waits for an answer on it; OK, or how it ended.
  grpc::Status OpenOne() {
    Open one;
    one.context = std::make_unique<grpc::ClientContext>();
    one.context->AddMetadata("authorization", "Bearer " + key_);
    one.context->set_deadline(std::chrono::system_clock::now() + kPatience);
    one.stream = stub_->StreamVerify(one.context.get());
    v1::StreamVerifyRequest request;
    request.set_batch_id(1);
    request.add_requests()->set_key("x");
    v1::StreamVerifyResponse response;
    if (!one.stream->Write(request) || !one.stream->Read(&response)) return one.stream->Finish();
    open_.push_back(std::move(one));
    return grpc::Status::OK;
  }

 private:
  struct Open {
    std::unique_ptr<grpc::ClientContext> context;
    std::unique_ptr<grpc::ClientReaderWriter<v1::StreamVerifyRequest, v1::StreamVerifyResponse>> stream;
  };
  static std::shared_ptr<grpc::Channel> ChannelOfItsOwn(const std::string& address) {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
  }

  const std::string key_;
  const std::unique_ptr<v1::KeyVerify::Stub> stub_;
  std::vector<Open> open_;
};

TEST_F(RpcServerTest, ConnectionWithTooManyCallsIsShutAndNoOther) {
  Admission::Limits limits;
  limits.connections.calls = 3;
  RpcServer server(Domain(service_.verifier), {.listen = "127.0.0.1:0", .limits = limits});
  const absl::StatusOr<int> port = server.Start();
  ASSERT_TRUE(port.ok()) << port.status();
  const std::string address = "127.0.0.1:" + std::to_string(*port);
  OpenStreams one(address, operator_key_);
  OpenStreams other(address, operator_key_);
  for (int i = 0; i < 3; ++i) {
    EXPECT_THAT(one.OpenOne(), Succeeds());
    EXPECT_THAT(other.OpenOne(), Succeeds());
  }
  EXPECT_EQ(one.OpenOne().error_code(), grpc::StatusCode::UNAVAILABLE);
  // As long as it keeps to what it may.
  OpenStreams third(address, operator_key_);
  EXPECT_THAT(third.OpenOne(), Succeeds());
}

TEST_F(RpcServerTest, CallsOfUnixSocketsCountOnTheirOwnConnection) {
  char directory[] = "/tmp/latchkey-rpc-XXXXXX";
  ASSERT_NE(mkdtemp(directory), nullptr);
  const std::string address = std::string("unix:") + directory + "/socket";
  {
    Admission::Limits limits;
    limits.connections.calls = 3;
    RpcServer server(Domain(service_.verifier), {.listen = address, .limits = limits});
    const absl::StatusOr<int> port = server.Start();
    ASSERT_TRUE(port.ok()) << port.status();
    OpenStreams one(address, operator_key_);
    OpenStreams other(address, operator_key_);
    for (int i = 0; i < 3; ++i) {
      EXPECT_THAT(one.OpenOne(), Succeeds());
      EXPECT_THAT(other.OpenOne(), Succeeds());
    }
    EXPECT_THAT(one.OpenOne(), Fails(grpc::StatusCode::RESOURCE_EXHAUSTED, "WORKERS_BUSY"));
  }
  EXPECT_EQ(rmdir(directory), 0) << "the socket is removed with its server";
}

TEST_F(RpcServerTest, SecondServerOnThePortIsRefusedWithOneLine) {
  RpcServer second(Domain(service_.verifier), {.listen = "127.0.0.1:" + std::to_string(port_)});
  const absl::StatusOr<int> started = second.Start();
  EXPECT_EQ(started.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(started.status().message()), ::testing::HasSubstr(std::to_string(port_)));
}

TEST_F(RpcServerTest, HealthNeedsNoCredentialsAndFollowsTheServingState) {
  HealthCheckRequest request;
  HealthCheckResponse response;
  ASSERT_TRUE(health_->Check(With("").get(), request, &response).ok());
  EXPECT_EQ(response.status(), HealthCheckResponse::NOT_SERVING);
  serving_.SetVerify(true);
  ASSERT_TRUE(health_->Check(With("").get(), request, &response).ok());
  EXPECT_EQ(response.status(), HealthCheckResponse::SERVING);
  request.set_service("latchkey.v1.KeyAdmin");
  ASSERT_TRUE(health_->Check(With("").get(), request, &response).ok());
  EXPECT_EQ(response.status(), HealthCheckResponse::NOT_SERVING);
  request.set_service("other");
  EXPECT_THAT(health_->Check(With("").get(), request, &response),
              Fails(grpc::StatusCode::NOT_FOUND, "SERVICE_UNKNOWN"));
}

TEST_F(RpcServerTest, HealthWatchTellsChangesAndEndsWhenTheServerDrains) {
  auto context = With("");
  auto abandoned_context = With("");
  HealthCheckResponse response;
  const auto abandoned = health_->Watch(abandoned_context.get(), HealthCheckRequest());
  ASSERT_TRUE(abandoned->Read(&response));
  abandoned_context->TryCancel();
  EXPECT_EQ(abandoned->Finish().error_code(), grpc::StatusCode::CANCELLED);

  const auto watch = health_->Watch(context.get(), HealthCheckRequest());
  ASSERT_TRUE(watch->Read(&response));
  EXPECT_EQ(response.status(), HealthCheckResponse::NOT_SERVING);
  serving_.SetVerify(true);
  ASSERT_TRUE(watch->Read(&response));
  EXPECT_EQ(response.status(), HealthCheckResponse::SERVING);
  std::thread drain([this] { server_.Drain(absl::Seconds(30)); });
  ASSERT_TRUE(watch->Read(&response));
  EXPECT_EQ(response.status(), HealthCheckResponse::NOT_SERVING);
  EXPECT_FALSE(watch->Read(&response));
  EXPECT_EQ(watch->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
  drain.join();
}

TEST_F(RpcServerTest, CallsInFlightAreAnsweredWhileTheServerDrains) {
  std::atomic<int> unanswered{0};
  std::vector<std::thread> callers;
  for (int i = 0; i < 4; ++i) {
    callers.emplace_back([&] {
      v1::CreateKeyResponse created;
      const grpc::Status status = Create(acme_key_, "organizations/acme", "viewer", &created);
      // gRPC cancels what it has taken from the wire and not handed on when the draining begins.
      const bool refused =
          status.error_code() == grpc::StatusCode::UNAVAILABLE || status.error_code() == grpc::StatusCode::CANCELLED;
      if (!status.ok() && !refused) ++unanswered;
    });
  }
  server_.Drain(absl::Seconds(30));
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(unanswered.load(), 0);
  server_.Drain(absl::ZeroDuration());
}

TEST_F(RpcServerTest, CallOfAVanishedCallerDoesNoHarm) {
  for (int i = 0; i < 50; ++i) {
    auto context = With(verifier_key_);
    grpc::CompletionQueue queue;
    v1::VerifyRequest request;
    request.set_key(acme_key_);
    auto reader = verify_->AsyncVerify(context.get(), request, &queue);
    v1::VerifyResponse response;
    grpc::Status status;
    reader->Finish(&response, &status, nullptr);
    context->TryCancel();
    void* tag = nullptr;
    bool ok = false;
    ASSERT_TRUE(queue.Next(&tag, &ok));
    EXPECT_TRUE(status.ok() || status.error_code() == grpc::StatusCode::CANCELLED) << status.error_message();
  }
  v1::VerifyResponse verdict;
  EXPECT_TRUE(Verify(verifier_key_, acme_key_, &verdict).ok());
}

}  // namespace
}  // namespace latchkey::rpc
