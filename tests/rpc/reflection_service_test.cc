#include "server/rpc/reflection_service.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <string>

#include "google/protobuf/descriptor.pb.h"
#include "tests/support/fake_transport.h"

namespace latchkey::rpc {
namespace {

using grpc::reflection::v1::ServerReflectionRequest;
using grpc::reflection::v1::ServerReflectionResponse;

class ReflectionTest : public ::testing::Test {
 protected:
  ServerReflectionResponse Ask(const std::function<void(ServerReflectionRequest&)>& fill) {
    ServerReflectionRequest request;
    request.set_host("host");
    fill(request);
    ServerReflectionResponse response = service_.Answer(request);
    EXPECT_EQ(response.valid_host(), "host");
    EXPECT_EQ(response.original_request().SerializeAsString(), request.SerializeAsString());
    return response;
  }
  static std::set<std::string> FilesIn(const ServerReflectionResponse& response) {
    std::set<std::string> names;
    for (const std::string& bytes : response.file_descriptor_response().file_descriptor_proto()) {
      google::protobuf::FileDescriptorProto file;
      EXPECT_TRUE(file.ParseFromString(bytes));
      EXPECT_TRUE(names.insert(file.name()).second) << file.name() << " twice";
    }
    return names;
  }

  ReflectionService service_{{"a.Service", "b.Service"}, *google::protobuf::DescriptorPool::generated_pool()};
};

TEST_F(ReflectionTest, ListsTheServices) {
  const auto response = Ask([](auto& request) { request.set_list_services("*"); });
  ASSERT_EQ(response.list_services_response().service_size(), 2);
  EXPECT_EQ(response.list_services_response().service(1).name(), "b.Service");
}

TEST_F(ReflectionTest, FileComesWithAllThatItImports) {
  const auto by_name = Ask([](auto& request) { request.set_file_by_filename("latchkey/v1/key_verify.proto"); });
  const std::set<std::string> files = FilesIn(by_name);
  for (const char* file : {"latchkey/v1/key_verify.proto", "latchkey/v1/options.proto", "google/rpc/status.proto",
                           "google/protobuf/any.proto"}) {
    EXPECT_TRUE(files.contains(file)) << file;
  }
  for (const char* symbol : {"latchkey.v1.KeyVerify", "latchkey.v1.KeyVerify.Verify", "latchkey.v1.VerifyRequest",
                             "latchkey.v1.VerifyRequest.key"}) {
    EXPECT_EQ(FilesIn(Ask([&](auto& request) { request.set_file_containing_symbol(symbol); })), files) << symbol;
  }
}

TEST_F(ReflectionTest, ExtensionsAreFoundByTypeAndNumber) {
  const auto numbers =
      Ask([](auto& request) { request.set_all_extension_numbers_of_type("google.protobuf.FieldOptions"); });
  EXPECT_EQ(numbers.all_extension_numbers_response().base_type_name(), "google.protobuf.FieldOptions");
  ASSERT_GT(numbers.all_extension_numbers_response().extension_number_size(), 0);
  const auto file = Ask([&](auto& request) {
    request.mutable_file_containing_extension()->set_containing_type("google.protobuf.FieldOptions");
    request.mutable_file_containing_extension()->set_extension_number(
        numbers.all_extension_numbers_response().extension_number(0));
  });
  EXPECT_TRUE(FilesIn(file).contains("latchkey/v1/options.proto"));
}

TEST_F(ReflectionTest, WhatIsNotThereIsNotFound) {
  constexpr int kNotFound = 5;
  constexpr int kInvalidArgument = 3;
  EXPECT_EQ(Ask([](auto& request) { request.set_file_by_filename("no.proto"); }).error_response().error_code(),
            kNotFound);
  EXPECT_EQ(Ask([](auto& request) { request.set_file_containing_symbol("no.Such"); }).error_response().error_code(),
            kNotFound);
  EXPECT_EQ(Ask([](auto& request) {
              request.mutable_file_containing_extension()->set_containing_type("google.protobuf.FieldOptions");
              request.mutable_file_containing_extension()->set_extension_number(1);
            })
                .error_response()
                .error_code(),
            kNotFound);
  EXPECT_EQ(
      Ask([](auto& request) { request.set_all_extension_numbers_of_type("no.Such"); }).error_response().error_code(),
      kNotFound);
  EXPECT_EQ(Ask([](auto& /*request*/) {}).error_response().error_code(), kInvalidArgument);
}

TEST_F(ReflectionTest, StreamAnswersOneAfterAnotherAndEndsWithItsClient) {
  for (const MethodTable* const table : {&service_.v1(), &service_.v1alpha()}) {
    testing::FakeStream stream(table->Find("ServerReflectionInfo")->stream, "", 1);
    ServerReflectionRequest request;
    request.set_list_services("*");
    for (int i = 0; i < 3; ++i) stream.Send(request.SerializeAsString());
    for (int i = 0; i < 3; ++i) {
      ServerReflectionResponse response;
      ASSERT_TRUE(response.ParseFromString(stream.Take().value()));
      EXPECT_EQ(response.list_services_response().service_size(), 2);
    }
    stream.HalfClose();
    EXPECT_EQ(stream.AwaitEnd().code(), 0);
  }
  testing::FakeStream cancelled(service_.v1().Find("ServerReflectionInfo")->stream, "", 1);
  cancelled.CancelByClient();
  EXPECT_EQ(cancelled.AwaitEnd().code(), 1);
}

}  // namespace
}  // namespace latchkey::rpc
