#include "server/rpc/rpc_server.h"

#include <grpc/support/log.h>
#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "latchkey/v1/key_admin.grpc.pb.h"
#include "latchkey/v1/key_verify.grpc.pb.h"
#include "server/base/executor.h"
#include "server/base/log.h"
#include "server/rpc/admin/key_admin_service.h"
#include "server/rpc/call/authenticator.h"
#include "server/rpc/call/security_log.h"
#include "server/rpc/health_service.h"
#include "server/rpc/transport/grpc/grpc_service.h"
#include "server/rpc/verify/key_verify_service.h"

namespace latchkey::rpc {
namespace {

constexpr int kHandshakeTimeoutMs = 5000;
// A client that vanished without a word gives its streams back after the sum of both.
constexpr int kKeepaliveMs = 60'000;
constexpr int kKeepaliveTimeoutMs = 20'000;
// Deep enough for a burst, shallow enough that a call at its end is answered within the default deadline.
constexpr size_t kAdminQueuePerWorker = 32;
// Those that wait share the readings of the log, so that a long queue is a short wait.
constexpr size_t kWaitingQueue = 1024;

// While a server starts, what goes wrong is told by the status of Start, in one line instead of gRPC's six.
std::atomic<bool> starting = false;

void LogFromGrpc(gpr_log_func_args* args) {
  const bool loud = args->severity == GPR_LOG_SEVERITY_ERROR && !starting.load();
  log::Write(loud ? log::Level::kWarning : log::Level::kDebug, "grpc", {{"text", args->message}});
}

// What gRPC wants done once in a process, before the first server.
void PrepareGrpc() {
  static const bool done = [] {
    gpr_set_log_function(LogFromGrpc);
    // Debian's Abseil is built with deadlock detection, which costs every lock of gRPC's a look into a global graph.
    absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
    grpc::EnableDefaultHealthCheckService(false);
    grpc::reflection::InitProtoReflectionServerBuilderPlugin();
    return true;
  }();
  static_cast<void>(done);
}

// The classes of work that may block, the most urgent first.
enum Work : size_t { kRevoke, kRevocationWaits, kAdmin, kVerifyWaits, kIssue };

std::vector<base::Executor::WorkClass> WorkClasses(const RpcServer::Options& options) {
  const size_t admin_queue = kAdminQueuePerWorker * static_cast<size_t>(options.admin_workers);
  std::vector<base::Executor::WorkClass> classes(5);
  classes[kRevoke] = {.reserved = RpcServer::kRevocationWorkers,
                      .limit = RpcServer::kRevocationWorkers,
                      .queue = kAdminQueuePerWorker * RpcServer::kRevocationWorkers};
  classes[kRevocationWaits] = {.reserved = 4, .limit = options.waiting_workers, .queue = kWaitingQueue};
  classes[kAdmin] = {.reserved = 1, .limit = options.admin_workers, .queue = admin_queue};
  classes[kVerifyWaits] = {.reserved = 1, .limit = options.waiting_workers, .queue = kWaitingQueue};
  classes[kIssue] = {.reserved = 1, .limit = options.admin_workers, .queue = admin_queue};
  return classes;
}

}  // namespace

struct RpcServer::Running {
  Running(const Domain& domain, const Options& options)
      : executor(WorkClasses(options), std::max(options.admin_workers, options.waiting_workers)),
        authenticator(domain.verifier, security_log),
        calls{.authenticator = authenticator, .observer = domain.observer},
        admin({.calls = calls,
               .keys = domain.keys,
               .organizations = domain.organizations,
               .roles = domain.roles,
               .ring = domain.ring,
               .admin = executor.queue(kAdmin),
               .issue = executor.queue(kIssue),
               .revoke = executor.queue(kRevoke),
               .revocation_waits = executor.queue(kRevocationWaits),
               .revocations = domain.revocations,
               .follower = domain.follower,
               .clock = domain.clock}),
        verify({.calls = calls,
                .verifier = domain.verifier,
                .index = domain.index,
                .follower = domain.follower,
                .hub = domain.hub,
                .uses = domain.uses,
                .clock = domain.clock,
                .waiting = executor.queue(kVerifyWaits),
                .streams = options.streams}),
        grpc_admin(*v1::CreateKeyRequest::descriptor()->file()->FindServiceByName("KeyAdmin"), admin.methods()),
        grpc_verify(*v1::VerifyRequest::descriptor()->file()->FindServiceByName("KeyVerify"), verify.methods()),
        health(domain.serving) {}

  SecurityLog security_log;
  base::Executor executor;
  Authenticator authenticator;
  const CallDependencies calls;
  KeyAdminService admin;
  KeyVerifyService verify;
  GrpcService<v1::KeyAdmin> grpc_admin;
  GrpcService<v1::KeyVerify> grpc_verify;
  HealthService health;
  std::unique_ptr<grpc::Server> server;
};

RpcServer::RpcServer(const Domain& domain, Options options) : domain_(domain), options_(std::move(options)) {}

RpcServer::~RpcServer() { Drain(absl::ZeroDuration()); }

absl::StatusOr<int> RpcServer::Start() {
  PrepareGrpc();
  auto running = std::make_unique<Running>(domain_, options_);
  int port = 0;
  grpc::ServerBuilder builder;
  builder.AddListeningPort(options_.listen, grpc::InsecureServerCredentials(), &port);
  builder.SetMaxReceiveMessageSize(options_.max_message_bytes);
  builder.AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, options_.max_metadata_bytes);
  // gRPC inflates a message before it checks its size: 61 KB of gzip would take 60 MiB, without any credentials.
  builder.SetCompressionAlgorithmSupportStatus(GRPC_COMPRESS_GZIP, false);
  builder.SetCompressionAlgorithmSupportStatus(GRPC_COMPRESS_DEFLATE, false);
  // gRPC would measure each connection's bandwidth by HTTP/2 pings of its own: with a thousand clients that say little,
  // three times as many packets as they send. Without it a stream may be 64 KiB ahead of us, a message's limit.
  builder.AddChannelArgument(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  // Two servers on one port would each get some of the calls.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, kHandshakeTimeoutMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveTimeoutMs);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);  // No limit: an idle stream sends none.
  builder.RegisterService(&running->grpc_admin);
  builder.RegisterService(&running->grpc_verify);
  builder.RegisterService(&running->health);
  starting = true;
  running->server = builder.BuildAndStart();
  starting = false;
  if (running->server == nullptr || port == 0) {
    return absl::FailedPreconditionError(absl::StrCat(
        "can't listen on ", options_.listen, ": the port is in use, or the address is not one of this machine"));
  }
  running_ = std::move(running);
  return port;
}

void RpcServer::Drain(absl::Duration grace) {
  if (running_ == nullptr) return;
  domain_.serving.StartDraining();
  running_->verify.StartDraining();
  running_->server->Shutdown(std::chrono::system_clock::now() +
                             absl::ToChronoMilliseconds(std::max(grace, absl::ZeroDuration())));
  running_->server->Wait();
  // Every call has been answered, so the queues are empty.
  running_->executor.Stop();
  running_ = nullptr;
}

}  // namespace latchkey::rpc
