#include "tests/bench/echo_server.h"

#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <signal.h>

#include <cstdio>
#include <memory>

#include "absl/synchronization/mutex.h"
#include "latchkey/v1/key_verify.grpc.pb.h"

namespace latchkey::bench {
namespace {

constexpr size_t kEchoedKeySize = 90;

class EchoService final : public v1::KeyVerify::CallbackService {
 public:
  EchoService() {
    verdict_.set_decision(v1::DECISION_ALLOWED);
    v1::Identity& identity = *verdict_.mutable_identity();
    identity.set_name("organizations/acme/keys/0123456789abcdef");
    identity.set_key_id("0123456789abcdef");
    identity.set_organization("acme");
    identity.set_display_name("bench key");
    identity.set_role("editor");
    for (const char* permission : {"app.read", "app.write", "latchkey.keys.read", "latchkey.roles.read"}) {
      identity.add_permissions(permission);
    }
    identity.set_secret_version(1);
    verdict_.mutable_max_cache_age()->set_seconds(4);
    verdict_.mutable_lease_remaining()->set_seconds(4);
    verdict_.mutable_revision()->set_number(100);
  }

  grpc::ServerUnaryReactor* Verify(grpc::CallbackServerContext* context, const v1::VerifyRequest* request,
                                   v1::VerifyResponse* response) override {
    if (request->key().size() == kEchoedKeySize) {
      response->mutable_revision()->set_token(request->key());
    } else {
      *response = verdict_;
    }
    grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }

 private:
  v1::VerifyResponse verdict_;
};

}  // namespace

int RunEchoServer() {
  sigset_t stop;
  sigemptyset(&stop);
  sigaddset(&stop, SIGTERM);
  sigaddset(&stop, SIGINT);
  pthread_sigmask(SIG_BLOCK, &stop, nullptr);
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);  // As in latchkeyd.
  EchoService service;
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(&service);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (server == nullptr || port == 0) return 69;
  std::printf("echo on %d\n", port);
  std::fflush(stdout);
  int signal = 0;
  sigwait(&stop, &signal);
  server->Shutdown();
  return 0;
}

}  // namespace latchkey::bench
