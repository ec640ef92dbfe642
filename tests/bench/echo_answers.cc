#include "tests/bench/echo_answers.h"

#include <grpcpp/server_context.h>
#include <pthread.h>
#include <signal.h>

#include <cstdio>
#include <cstdlib>
#include <string>

#include "absl/synchronization/mutex.h"
#include "tests/bench/echo_server.h"

namespace latchkey::bench {
namespace {

constexpr size_t kEchoedKeySize = 90;

sigset_t StopSignals() {
  sigset_t stop;
  sigemptyset(&stop);
  sigaddset(&stop, SIGTERM);
  sigaddset(&stop, SIGINT);
  return stop;
}

}  // namespace

EchoAnswers::EchoAnswers() {
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

void EchoAnswers::Answer(const v1::VerifyRequest& request, v1::VerifyResponse& response) const {
  if (request.key().size() == kEchoedKeySize) {
    response.mutable_revision()->set_token(request.key());
  } else {
    response = verdict_;
  }
}

grpc::ByteBuffer EchoAnswers::MessageFor(const grpc::ServerContextBase& context) {
  const auto& metadata = context.client_metadata();
  const auto found = metadata.find(kAnswerBytes);
  const size_t size = found == metadata.end()
                          ? 0
                          : std::strtoul(std::string(found->second.data(), found->second.size()).c_str(), nullptr, 10);
  const grpc::Slice slice(std::string(size, 'x'));
  return {&slice, 1};
}

void PrepareEcho() {
  const sigset_t stop = StopSignals();
  pthread_sigmask(SIG_BLOCK, &stop, nullptr);
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);  // As in latchkeyd.
}

void AnnounceAndWait(int port) {
  std::printf("echo on %d\n", port);
  std::fflush(stdout);
  const sigset_t stop = StopSignals();
  int signal = 0;
  sigwait(&stop, &signal);
}

}  // namespace latchkey::bench
