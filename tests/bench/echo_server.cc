#include "tests/bench/echo_server.h"

#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>

#include <memory>
#include <mutex>

#include "latchkey/v1/key_verify.grpc.pb.h"
#include "tests/bench/echo_answers.h"

namespace latchkey::bench {
namespace {

class EchoService final : public v1::KeyVerify::WithCallbackMethod_Verify<v1::KeyVerify::Service> {
 public:
  grpc::ServerUnaryReactor* Verify(grpc::CallbackServerContext* context, const v1::VerifyRequest* request,
                                   v1::VerifyResponse* response) override {
    answers_.Answer(*request, *response);
    grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }

 private:
  const EchoAnswers answers_;
};

class EchoStream final : public grpc::ServerGenericBidiReactor {
 public:
  explicit EchoStream(const grpc::GenericCallbackServerContext& context) : answer_(EchoAnswers::MessageFor(context)) {
    StartRead(&request_);
  }

 private:
  void OnReadDone(bool ok) override {
    if (!ok) {
      const std::lock_guard<std::mutex> lock(mutex_);
      over_ = true;
      if (!writing_) Finish(grpc::Status::OK);
      return;
    }
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (writing_) {
        ++owed_;
      } else {
        writing_ = true;
        StartWrite(&answer_);
      }
    }
    StartRead(&request_);
  }
  void OnWriteDone(bool /*ok*/) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (owed_ > 0) {
      --owed_;
      StartWrite(&answer_);
      return;
    }
    writing_ = false;
    if (over_) Finish(grpc::Status::OK);
  }
  void OnDone() override { delete this; }

  const grpc::ByteBuffer answer_;
  grpc::ByteBuffer request_;
  std::mutex mutex_;
  bool writing_ = false;
  bool over_ = false;
  int owed_ = 0;
};

class Streams final : public grpc::CallbackGenericService {
  grpc::ServerGenericBidiReactor* CreateReactor(grpc::GenericCallbackServerContext* context) override {
    return new EchoStream(*context);
  }
};

}  // namespace

int RunCallbackEchoServer() {
  PrepareEcho();
  EchoService service;
  Streams streams;
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(&service);
  builder.RegisterCallbackGenericService(&streams);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (server == nullptr || port == 0) return 69;
  AnnounceAndWait(port);
  server->Shutdown(std::chrono::system_clock::now());
  return 0;
}

}  // namespace latchkey::bench
