// What a caller gets for bytes that no generated client would send, over a real connection.
#include <gmock/gmock.h>
#include <grpcpp/generic/generic_stub.h>
#include <gtest/gtest.h>

#include <future>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "google/protobuf/descriptor.h"
#include "tests/rpc/rpc_server_fixture.h"

namespace latchkey::rpc {
namespace {

const std::string kGarbage = "\xff\xff\xff";  // A tag that never ends.

struct Answer {
  grpc::Status status;
  size_t messages = 0;
};

// One call of raw bytes: sends all, then half-closes and reads to the end.
class RawCall final : public grpc::ClientBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer> {
 public:
  RawCall(grpc::GenericStub& stub, std::unique_ptr<grpc::ClientContext> context, const std::string& method,
          std::vector<std::string> messages)
      : context_(std::move(context)), messages_(std::move(messages)) {
    stub.PrepareBidiStreamingCall(context_.get(), method, grpc::StubOptions(), this);
    WriteNext();
    StartRead(&read_);
    StartCall();
  }
  Answer Await() {
    answer_.status = done_.get_future().get();
    return answer_;
  }

 private:
  void WriteNext() {
    if (next_ == messages_.size()) {
      StartWritesDone();
      return;
    }
    const grpc::Slice slice(messages_[next_++]);
    written_ = grpc::ByteBuffer(&slice, 1);
    StartWrite(&written_);
  }
  void OnWriteDone(bool ok) override {
    if (ok) WriteNext();
  }
  void OnReadDone(bool ok) override {
    if (!ok) return;
    ++answer_.messages;
    StartRead(&read_);
  }
  void OnDone(const grpc::Status& status) override { done_.set_value(status); }

  const std::unique_ptr<grpc::ClientContext> context_;
  const std::vector<std::string> messages_;
  size_t next_ = 0;
  grpc::ByteBuffer written_;
  grpc::ByteBuffer read_;
  Answer answer_;
  std::promise<grpc::Status> done_;
};

class WireAnswersTest : public RpcServerFixture {
 protected:
  Answer Call(const std::string& caller, const std::string& method, std::vector<std::string> messages) {
    grpc::GenericStub stub(channel_);
    return RawCall(stub, With(caller), method, std::move(messages)).Await();
  }
};

TEST_F(WireAnswersTest, MessageThatIsNoProtobufIsUnimplementedWhoeverSendsIt) {
  for (const char* method : {"/latchkey.v1.KeyVerify/Verify", "/latchkey.v1.KeyAdmin/CreateKey"}) {
    for (const std::string& caller : {operator_key_, std::string()}) {
      const Answer answer = Call(caller, method, {kGarbage});
      EXPECT_EQ(answer.status.error_code(), grpc::StatusCode::UNIMPLEMENTED) << method;
      EXPECT_EQ(answer.status.error_message(), "");
      EXPECT_EQ(answer.messages, 0u);
    }
  }
}

TEST_F(WireAnswersTest, StreamEndsAtAMessageThatIsNoProtobufAsIfItWereTheLast) {
  for (const char* method : {"/latchkey.v1.KeyVerify/StreamVerify", "/latchkey.v1.KeyVerify/Watch"}) {
    const Answer answer = Call(operator_key_, method, {kGarbage});
    EXPECT_THAT(answer.status, Succeeds()) << method;
    EXPECT_EQ(answer.messages, 0u);
  }
}

TEST_F(WireAnswersTest, UnaryCallWithoutAMessageIsNotAnsweredOk) {
  const Answer answer = Call(operator_key_, "/latchkey.v1.KeyVerify/Verify", {});
  EXPECT_EQ(answer.status.error_code(), grpc::StatusCode::UNIMPLEMENTED) << answer.status.error_message();
}

TEST_F(WireAnswersTest, EmptyMessageIsAMessage) {
  const Answer answer = Call(operator_key_, "/latchkey.v1.KeyAdmin/ListOrganizations", {""});
  EXPECT_THAT(answer.status, Succeeds());
  EXPECT_EQ(answer.messages, 1u);
}

TEST_F(WireAnswersTest, SecondMessageOfAUnaryCallIsNotRead) {
  v1::VerifyRequest request;
  request.set_key("x");
  const Answer answer =
      Call(operator_key_, "/latchkey.v1.KeyVerify/Verify", {request.SerializeAsString(), request.SerializeAsString()});
  EXPECT_THAT(answer.status, Succeeds());
  EXPECT_EQ(answer.messages, 1u);
}

TEST_F(WireAnswersTest, EveryMethodOfTheProtosIsServed) {
  for (const google::protobuf::FileDescriptor* file :
       {v1::CreateKeyRequest::descriptor()->file(), v1::VerifyRequest::descriptor()->file()}) {
    for (int s = 0; s < file->service_count(); ++s) {
      for (int m = 0; m < file->service(s)->method_count(); ++m) {
        const std::string method = "/" + file->service(s)->full_name() + "/" + file->service(s)->method(m)->name();
        // Whoever asks who is calling is there.
        EXPECT_THAT(Call("", method, {""}).status, Fails(grpc::StatusCode::UNAUTHENTICATED, "CREDENTIALS_MISSING"))
            << method;
      }
    }
  }
}

TEST_F(WireAnswersTest, MethodThatDoesNotExistIsUnimplemented) {
  for (const char* method : {"/latchkey.v1.KeyVerify/Nothing", "/latchkey.v1.Nothing/Verify"}) {
    EXPECT_EQ(Call(operator_key_, method, {""}).status.error_code(), grpc::StatusCode::UNIMPLEMENTED) << method;
  }
}

}  // namespace
}  // namespace latchkey::rpc
