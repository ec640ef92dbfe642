// Who may call, and what one organization sees of another.
#include <gmock/gmock.h>
#include <grpcpp/generic/generic_stub.h>
#include <gtest/gtest.h>

#include <future>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/core/key_format.h"
#include "grpc/reflection/v1/reflection.pb.h"
#include "server/keys/crypto/key_ring.h"
#include "tests/support/server_fixture.h"
#include "tests/support/status_matchers.h"

namespace latchkey::testing {
namespace {

using grpc::health::v1::HealthCheckResponse;
using ::testing::UnorderedElementsAre;

const auto missing = Refused(absl::StatusCode::kUnauthenticated, "CREDENTIALS_MISSING");
const auto invalid = Refused(absl::StatusCode::kUnauthenticated, "CREDENTIALS_INVALID");

// With a right CRC, so that only the server can tell.
std::string WithTag(const std::string& key_string, char first) {
  const core::KeyParts parts = *core::ParseKeyString(key_string);
  std::string tag(parts.tag);
  tag[0] = tag[0] == first ? static_cast<char>(first + 1) : first;
  return core::AssembleKeyString("", parts.kid, parts.secret, parts.gen, tag);
}

TEST(Authentication, CallersWithoutAGoodKeyAreTurnedAway) {
  DevServer& dev = SharedDevServer();
  const RpcClient owner = dev.AcmeOwner();
  const auto as = [&](const RpcClient& caller) { return caller.List("acme"); };
  EXPECT_THAT(as(owner), IsOk());
  EXPECT_THAT(as(dev.server().As("")), missing);
  for (const std::string value : {"Bearer", "Bearer ", "Basic YWNtZTphY21l", "Bearer not-a-key"}) {
    EXPECT_THAT(as(owner.WithAuthorization(value)), invalid) << value;
  }
  EXPECT_THAT(as(owner.WithAuthorization(dev.Key("acme"))), invalid);
  EXPECT_THAT(as(owner.WithAuthorization("Bearer " + dev.Key("acme") + ", Bearer " + dev.Key("acme"))), invalid);
  EXPECT_THAT(as(owner.As(dev.Key("acme").substr(0, 81))), invalid);
  EXPECT_THAT(as(owner.As(WithTag(dev.Key("acme"), '0'))), invalid);
  const auto ring = keys::KeyRing::Parse(ReadFile(dev.data_directory() + "/keyring.json"));
  ASSERT_THAT(ring, IsOk());
  EXPECT_THAT(as(owner.As(std::string(ring->Mint().Expose()))), invalid) << "an unknown key id";
}

TEST(Authentication, DeletedAndExpiredCallersAreTurnedAway) {
  DevServer& dev = SharedDevServer();
  const RpcClient owner = dev.AcmeOwner();
  const v1::CreateKeyResponse admin = owner.MustCreate("acme", "soon deleted", "admin");
  const RpcClient as_admin = owner.As(admin.key_string());
  ASSERT_THAT(as_admin.List("acme"), IsOk());
  ASSERT_THAT(owner.Delete(admin.key().name()), IsOk());
  EXPECT_THAT(as_admin.List("acme"), invalid);
  EXPECT_THAT(as_admin.Create("acme", "from the grave", "viewer"), invalid);

  v1::CreateKeyRequest wanted;
  wanted.set_parent("organizations/acme");
  wanted.mutable_key()->set_display_name("short");
  wanted.mutable_key()->set_role("admin");
  wanted.mutable_key()->mutable_ttl()->set_seconds(1);
  const auto ending = owner.Call(&v1::KeyAdmin::Stub::CreateKey, wanted);
  ASSERT_THAT(ending, IsOk());
  EXPECT_TRUE(Eventually(absl::Seconds(30), [&] { return !owner.As(ending->key_string()).List("acme").ok(); }));
  EXPECT_THAT(owner.As(ending->key_string()).List("acme"), invalid);
}

TEST(Authentication, KeyVerifyIsClosedToo) {
  DevServer& dev = SharedDevServer();
  const std::string key = dev.Key("acme");
  EXPECT_THAT(dev.server().As("").Verify(key), missing);
  EXPECT_THAT(dev.server().As("nonsense").Verify(key), invalid);
  const RpcClient owner = dev.AcmeOwner();
  const RpcClient viewer = owner.As(owner.MustCreate("acme", "a viewer", "viewer").key_string());
  EXPECT_THAT(viewer.Verify(key), Refused(absl::StatusCode::kPermissionDenied, "PERMISSION_MISSING"));
  v1::BatchVerifyRequest batch;
  batch.add_requests()->set_key(key);
  EXPECT_THAT(viewer.Call(&v1::KeyVerify::Stub::BatchVerify, batch),
              Refused(absl::StatusCode::kPermissionDenied, "PERMISSION_MISSING"));
}

TEST(Authentication, EveryRpcOfKeyAdminWantsItsOwnPermission) {
  DevServer& dev = SharedDevServer();
  const RpcClient owner = dev.AcmeOwner();
  const RpcClient verifier = owner.As(owner.MustCreate("acme", "verifies only", "verifier").key_string());
  const auto lacks = [](const std::string& permission, const auto& answer) {
    EXPECT_THAT(answer, Refused(absl::StatusCode::kPermissionDenied, "PERMISSION_MISSING"));
    EXPECT_EQ(WireMetadataOf(answer.status(), "permission"), permission);
  };
  const std::string name = "organizations/acme/keys/0123456789ABCDEF";
  lacks("latchkey.keys.create", verifier.Create("acme", "x", "verifier"));
  lacks("latchkey.keys.read", verifier.Get(name));
  lacks("latchkey.keys.read", verifier.List("acme"));
  lacks("latchkey.keys.update", verifier.Rename(name, "x"));
  lacks("latchkey.keys.delete", verifier.Delete(name));
  lacks("latchkey.roles.read", verifier.Call(&v1::KeyAdmin::Stub::ListRoles, v1::ListRolesRequest()));
  lacks("latchkey.organizations.create", verifier.CreateOrganization("initech"));
  lacks("latchkey.organizations.read",
        verifier.Call(&v1::KeyAdmin::Stub::GetOrganization, v1::GetOrganizationRequest()));
  lacks("latchkey.organizations.read",
        verifier.Call(&v1::KeyAdmin::Stub::ListOrganizations, v1::ListOrganizationsRequest()));
}

TEST(Health, IsOpenAndKnowsEachService) {
  const auto& channel = SharedDevServer().server().channel();
  for (const char* service : {"", "latchkey.v1.KeyAdmin", "latchkey.v1.KeyVerify"}) {
    EXPECT_EQ(HealthOf(channel, service), HealthCheckResponse::SERVING) << service;
  }
  EXPECT_EQ(HealthOf(channel, "latchkey.v1.NoSuchService"), HealthCheckResponse::SERVICE_UNKNOWN);
}

TEST(Reflection, IsOpenAndListsEveryService) {
  grpc::reflection::v1::ServerReflectionRequest question;
  question.set_list_services("*");
  grpc::Slice slice(question.SerializeAsString());
  const grpc::ByteBuffer request(&slice, 1);
  grpc::GenericStub stub(SharedDevServer().server().channel());
  for (const char* const version : {"v1", "v1alpha"}) {
    grpc::ByteBuffer response;
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(10));
    std::promise<grpc::Status> done;
    stub.UnaryCall(&context, absl::StrCat("/grpc.reflection.", version, ".ServerReflection/ServerReflectionInfo"),
                   grpc::StubOptions(), &request, &response,
                   [&done](const grpc::Status& status) { done.set_value(status); });
    const grpc::Status status = done.get_future().get();
    ASSERT_TRUE(status.ok()) << status.error_message();
    grpc::Slice bytes;
    ASSERT_TRUE(response.DumpToSingleSlice(&bytes).ok());
    grpc::reflection::v1::ServerReflectionResponse answer;
    ASSERT_TRUE(answer.ParseFromArray(bytes.begin(), static_cast<int>(bytes.size())));
    std::vector<std::string> names;
    for (const auto& service : answer.list_services_response().service()) names.push_back(service.name());
    EXPECT_THAT(
        names, UnorderedElementsAre("latchkey.v1.KeyAdmin", "latchkey.v1.KeyVerify", "grpc.health.v1.Health",
                                    "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"));
  }
}

// Everything about an error but the id of the call.
std::string Shape(const absl::Status& status, const std::string& name) {
  std::string text = std::string(status.message()) + "|" + WireReasonOf(status) + "|" + WireFieldOf(status);
  for (size_t at = text.find(name); at != std::string::npos; at = text.find(name))
    text.replace(at, name.size(), "NAME");
  return absl::StatusCodeToString(status.code()) + "|" + text;
}

TEST(Isolation, AnotherOrganizationsKeyLooksLikeOneThatDoesNotExist) {
  DevServer& dev = SharedDevServer();
  const Tenant ours = NewTenant(dev);
  const Tenant theirs = NewTenant(dev);
  const RpcClient caller = dev.server().As(ours.owner.key_string());
  const RpcClient stranger = dev.server().As(theirs.owner.key_string());
  const v1::CreateKeyResponse secret = stranger.MustCreate(theirs.organization, "theirs", "viewer");
  const std::string kid = secret.key().name().substr(secret.key().name().rfind('/') + 1);

  const std::string real = secret.key().name();
  const std::vector<std::string> absent = {
      "organizations/" + theirs.organization + "/keys/0123456789ABCDEF",
      "organizations/no-such-organization/keys/0123456789ABCDEF",
      "organizations/" + ours.organization + "/keys/" + kid,
  };
  for (const std::string& name : absent) {
    EXPECT_EQ(Shape(caller.Get(real).status(), real), Shape(caller.Get(name).status(), name));
    EXPECT_EQ(Shape(caller.Rename(real, "mine").status(), real), Shape(caller.Rename(name, "mine").status(), name));
    EXPECT_EQ(Shape(caller.Delete(real).status(), real), Shape(caller.Delete(name).status(), name));
  }
  EXPECT_THAT(caller.Get(real), Refused(absl::StatusCode::kNotFound, "KEY_NOT_FOUND"));
  EXPECT_THAT(caller.Rename(real, "mine"), Refused(absl::StatusCode::kNotFound, "KEY_NOT_FOUND"));
  EXPECT_THAT(caller.Delete(real), Refused(absl::StatusCode::kNotFound, "KEY_NOT_FOUND"));
  EXPECT_EQ(stranger.Get(real)->display_name(), "theirs");
  EXPECT_EQ(stranger.Get(real)->state(), v1::Key::STATE_ACTIVE);
}

TEST(Isolation, AnotherOrganizationLooksLikeOneThatDoesNotExist) {
  DevServer& dev = SharedDevServer();
  const Tenant ours = NewTenant(dev);
  const Tenant theirs = NewTenant(dev);
  const RpcClient caller = dev.server().As(ours.owner.key_string());
  for (const std::string& organization :
       {theirs.organization, std::string("no-such-organization"), std::string("system")}) {
    const auto not_found = Refused(absl::StatusCode::kNotFound, "ORGANIZATION_NOT_FOUND");
    EXPECT_THAT(caller.List(organization), not_found);
    EXPECT_THAT(caller.Create(organization, "x", "viewer"), not_found);
    v1::ListRolesRequest roles;
    roles.set_parent("organizations/" + organization);
    EXPECT_THAT(caller.Call(&v1::KeyAdmin::Stub::ListRoles, roles), not_found);
    v1::GetOrganizationRequest get;
    get.set_name("organizations/" + organization);
    EXPECT_THAT(caller.Call(&v1::KeyAdmin::Stub::GetOrganization, get), not_found);
  }
  const auto visible = caller.Call(&v1::KeyAdmin::Stub::ListOrganizations, v1::ListOrganizationsRequest());
  ASSERT_THAT(visible, IsOk());
  ASSERT_EQ(visible->organizations_size(), 1);
  EXPECT_EQ(visible->organizations(0).name(), "organizations/" + ours.organization);
}

TEST(Isolation, AVerifierOfOneOrganizationLearnsNothingOfAnothersKeys) {
  DevServer& dev = SharedDevServer();
  const Tenant ours = NewTenant(dev);
  const Tenant theirs = NewTenant(dev);
  const RpcClient owner = dev.server().As(ours.owner.key_string());
  const RpcClient verifier = owner.As(owner.MustCreate(ours.organization, "verifier", "verifier").key_string());
  EXPECT_EQ(verifier.Decide(ours.owner.key_string()), v1::DECISION_ALLOWED);
  const auto foreign = verifier.Verify(theirs.owner.key_string());
  ASSERT_THAT(foreign, IsOk());
  EXPECT_EQ(foreign->decision(), v1::DECISION_NOT_FOUND);
  EXPECT_FALSE(foreign->has_identity());
  EXPECT_EQ(dev.Verifier().Decide(theirs.owner.key_string()), v1::DECISION_ALLOWED) << "a verifier in system sees all";
}

}  // namespace
}  // namespace latchkey::testing
