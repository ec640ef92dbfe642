#include "server/rpc/rpc_server.h"

#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>

#include <algorithm>
#include <chrono>
#include <deque>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "server/base/executor.h"
#include "server/base/periodic.h"
#include "server/rpc/admin/key_admin_service.h"
#include "server/rpc/call/authenticator.h"
#include "server/rpc/call/security_log.h"
#include "server/rpc/call/status_conversion.h"
#include "server/rpc/health_service.h"
#include "server/rpc/reflection_service.h"
#include "server/rpc/transport/grpc/grpc_service.h"
#include "server/rpc/transport/grpc/library_logs.h"
#include "server/rpc/verify/key_verify_service.h"

namespace latchkey::rpc {
namespace {

constexpr int kHandshakeTimeoutMs = 5000;
// A client that vanished without a word gives its streams back after the sum of both.
constexpr int kKeepaliveMs = 60'000;
constexpr int kKeepaliveTimeoutMs = 20'000;
// Streams of one connection at a time, as the peer is told.
constexpr int kMaxConcurrentStreams = 100;
// What is parsed before the calls in it are counted.
constexpr int kMaxReadChunk = 16 * 1024;
constexpr absl::Duration kSweepEvery = absl::Seconds(1);
// Deep enough for a burst, shallow enough that a call at its end is answered within the default deadline.
constexpr size_t kAdminQueuePerWorker = 32;
// Those that wait share the readings of the log, so that a long queue is a short wait.
constexpr size_t kWaitingQueue = 1024;

// What gRPC wants done once in a process, before the first server.
void PrepareGrpc() {
  static const bool done = [] {
    InstallLibraryLogs();
    // Debian's Abseil is built with deadlock detection, which costs every lock of gRPC's a look into a global graph.
    absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
    grpc::EnableDefaultHealthCheckService(false);
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

Admission::Limits LimitsOf(const RpcServer::Options& options) {
  Admission::Limits limits = options.limits;
  limits.metadata_bytes = static_cast<size_t>(options.max_metadata_bytes);
  return limits;
}

}  // namespace

struct RpcServer::Running {
  Running(const Domain& domain, const Options& options)
      : admission(LimitsOf(options)),
        transport{.admission = admission,
                  .wire_status = [](const absl::Status& status) { return RpcStatusOf(status, "none"); }},
        executor(WorkClasses(options), std::max(options.admin_workers, options.waiting_workers)),
        security_log(domain.clock),
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
        health(domain.serving),
        reflection({admin.methods().service(), verify.methods().service(), health.methods().service(),
                    "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"},
                   *google::protobuf::DescriptorPool::generated_pool()) {
    for (const MethodTable* table :
         {&admin.methods(), &verify.methods(), &health.methods(), &reflection.v1(), &reflection.v1alpha()}) {
      services.emplace_back(*table, transport);
    }
    sweeper.Start(kSweepEvery, [this] {
      admission.deadlines().Sweep(std::chrono::steady_clock::now());
      security_log.Summarize();
    });
  }

  // Takes over what gRPC's own accept would do.
  void AcceptInto(grpc::experimental::ExternalConnectionAcceptor& grpc) {
    acceptor->Start([&grpc](int listener, int descriptor) {
      grpc::experimental::ExternalConnectionAcceptor::NewConnectionParameters parameters;
      parameters.listener_fd = listener;
      parameters.fd = descriptor;
      grpc.HandleNewConnection(&parameters);
    });
  }

  Admission admission;
  const GrpcCallDependencies transport;
  SecurityLog security_log;
  base::Executor executor;
  Authenticator authenticator;
  const CallDependencies calls;
  KeyAdminService admin;
  KeyVerifyService verify;
  HealthService health;
  ReflectionService reflection;
  std::deque<GrpcService> services;
  UnknownMethods unknown{transport};
  std::unique_ptr<grpc::experimental::ExternalConnectionAcceptor> connections;
  std::unique_ptr<Acceptor> acceptor;  // nullptr: gRPC accepts itself.
  base::Periodic sweeper;
  std::unique_ptr<grpc::Server> server;
};

RpcServer::RpcServer(const Domain& domain, Options options) : domain_(domain), options_(std::move(options)) {}

RpcServer::~RpcServer() { Drain(absl::ZeroDuration()); }

absl::StatusOr<int> RpcServer::Start() {
  PrepareGrpc();
  auto running = std::make_unique<Running>(domain_, options_);
  int port = 0;
  grpc::ServerBuilder builder;
  if (options_.library_accept) {
    builder.AddListeningPort(options_.listen, grpc::InsecureServerCredentials(), &port);
  } else {
    absl::StatusOr<std::unique_ptr<Acceptor>> acceptor =
        Acceptor::Listen(options_.listen, options_.accept, running->admission.connections());
    if (!acceptor.ok()) return acceptor.status();
    running->acceptor = *std::move(acceptor);
    port = running->acceptor->port();
    using Type = grpc::ServerBuilder::experimental_type::ExternalConnectionType;
    running->connections =
        builder.experimental().AddExternalConnectionAcceptor(Type::FROM_FD, grpc::InsecureServerCredentials());
  }
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
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, kMaxConcurrentStreams);
  builder.AddChannelArgument(GRPC_ARG_TCP_MAX_READ_CHUNK_SIZE, kMaxReadChunk);
  for (GrpcService& service : running->services) builder.RegisterService(&service);
  builder.RegisterCallbackGenericService(&running->unknown);
  // What goes wrong now is told by the status, in one line instead of gRPC's six.
  QuietenLibraryLogs(true);
  running->server = builder.BuildAndStart();
  QuietenLibraryLogs(false);
  if (running->server == nullptr || (port == 0 && running->acceptor == nullptr)) {
    return absl::FailedPreconditionError(absl::StrCat(
        "can't listen on ", options_.listen, ": the port is in use, or the address is not one of this machine"));
  }
  if (running->acceptor != nullptr) running->AcceptInto(*running->connections);
  running_ = std::move(running);
  return port;
}

uint64_t RpcServer::accept_turns() const { return running_->acceptor == nullptr ? 0 : running_->acceptor->turns(); }

void RpcServer::Drain(absl::Duration grace) {
  if (running_ == nullptr) return;
  domain_.serving.StartDraining();
  running_->verify.StartDraining();
  if (running_->acceptor != nullptr) running_->acceptor->Stop();
  running_->server->Shutdown(std::chrono::system_clock::now() +
                             absl::ToChronoMilliseconds(std::max(grace, absl::ZeroDuration())));
  running_->server->Wait();
  running_->sweeper.Stop();
  // Every call has been answered, so the queues are empty.
  running_->executor.Stop();
  running_ = nullptr;
}

}  // namespace latchkey::rpc
