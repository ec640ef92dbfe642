#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>

#include <memory>
#include <optional>
#include <thread>

#include "latchkey/v1/key_verify.grpc.pb.h"
#include "tests/bench/echo_answers.h"
#include "tests/bench/echo_server.h"

namespace latchkey::bench {
namespace {

using Service = v1::KeyVerify::WithAsyncMethod_Verify<v1::KeyVerify::Service>;

constexpr int kUnaryPlaces = 64;  // More than are in flight.
constexpr int kStreamPlaces = 8;

// All of this runs on the queue's one thread.
class Event {
 public:
  virtual ~Event() = default;
  virtual void Happened(bool ok) = 0;
};

class UnaryPlace final : public Event {
 public:
  UnaryPlace(Service& service, grpc::ServerCompletionQueue& queue, const EchoAnswers& answers)
      : service_(service), queue_(queue), answers_(answers) {
    Wait();
  }
  void Happened(bool ok) override {
    if (finishing_) {
      Wait();
    } else if (ok) {
      answers_.Answer(request_, response_);
      finishing_ = true;
      responder_->Finish(response_, grpc::Status::OK, this);
    }
  }

 private:
  void Wait() {
    finishing_ = false;
    response_.Clear();
    responder_.reset();
    context_.emplace();
    responder_.emplace(&*context_);
    service_.RequestVerify(&*context_, &request_, &*responder_, &queue_, &queue_, this);
  }

  Service& service_;
  grpc::ServerCompletionQueue& queue_;
  const EchoAnswers& answers_;
  std::optional<grpc::ServerContext> context_;
  std::optional<grpc::ServerAsyncResponseWriter<v1::VerifyResponse>> responder_;
  v1::VerifyRequest request_;
  v1::VerifyResponse response_;
  bool finishing_ = false;
};

class StreamPlace final {
 public:
  StreamPlace(grpc::AsyncGenericService& service, grpc::ServerCompletionQueue& queue)
      : service_(service), queue_(queue) {
    Wait();
  }

 private:
  template <void (StreamPlace::*method)(bool)>
  class Member final : public Event {
   public:
    explicit Member(StreamPlace& place) : place_(place) {}
    void Happened(bool ok) override { (place_.*method)(ok); }

   private:
    StreamPlace& place_;
  };

  void Wait() {
    over_ = writing_ = false;
    owed_ = 0;
    stream_.reset();
    context_.emplace();
    stream_.emplace(&*context_);
    service_.RequestCall(&*context_, &*stream_, &queue_, &queue_, &begun_);
  }
  void Begun(bool ok) {
    if (!ok) return;
    answer_ = EchoAnswers::MessageFor(*context_);
    stream_->Read(&request_, &read_);
  }
  void Read(bool ok) {
    if (!ok) {
      over_ = true;
      if (!writing_) stream_->Finish(grpc::Status::OK, &finished_);
      return;
    }
    ++owed_;
    if (!writing_) Write();
    stream_->Read(&request_, &read_);
  }
  void Write() {
    --owed_;
    writing_ = true;
    stream_->Write(answer_, &written_);
  }
  void Written(bool /*ok*/) {
    writing_ = false;
    if (owed_ > 0) {
      Write();
    } else if (over_) {
      stream_->Finish(grpc::Status::OK, &finished_);
    }
  }
  void Finished(bool /*ok*/) { Wait(); }

  grpc::AsyncGenericService& service_;
  grpc::ServerCompletionQueue& queue_;
  Member<&StreamPlace::Begun> begun_{*this};
  Member<&StreamPlace::Read> read_{*this};
  Member<&StreamPlace::Written> written_{*this};
  Member<&StreamPlace::Finished> finished_{*this};
  std::optional<grpc::GenericServerContext> context_;
  std::optional<grpc::GenericServerAsyncReaderWriter> stream_;
  grpc::ByteBuffer request_, answer_;
  bool over_ = false;
  bool writing_ = false;
  int owed_ = 0;
};

}  // namespace

int RunQueueEchoServer() {
  PrepareEcho();
  const EchoAnswers answers;
  Service service;
  grpc::AsyncGenericService streams;
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(&service);
  builder.RegisterAsyncGenericService(&streams);
  const std::unique_ptr<grpc::ServerCompletionQueue> queue = builder.AddCompletionQueue();
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (server == nullptr || port == 0) return 69;
  std::vector<std::unique_ptr<UnaryPlace>> unary_places;
  std::vector<std::unique_ptr<StreamPlace>> stream_places;
  for (int i = 0; i < kUnaryPlaces; ++i) {
    unary_places.push_back(std::make_unique<UnaryPlace>(service, *queue, answers));
  }
  for (int i = 0; i < kStreamPlaces; ++i) stream_places.push_back(std::make_unique<StreamPlace>(streams, *queue));
  std::thread loop([&queue] {
    void* tag = nullptr;
    bool ok = false;
    while (queue->Next(&tag, &ok)) static_cast<Event*>(tag)->Happened(ok);
  });
  AnnounceAndWait(port);
  // The places would wait for new calls of a server that takes none: the process ends instead.
  std::fflush(stdout);
  std::_Exit(0);
}

}  // namespace latchkey::bench
