#include "server/app/server.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <limits>
#include <thread>
#include <utility>

#include "absl/strings/cord.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "client/core/secret.h"
#include "server/app/exit_error.h"
#include "server/app/key_ring_file.h"
#include "server/app/signals.h"
#include "server/base/errors.h"
#include "server/base/log.h"
#include "server/storage/postgres/notify_doorbell.h"

namespace latchkey::app {
namespace {

// One for each worker that revokes (rpc_server.cc), and two for those that wait: they ask shortly, again and again.
constexpr int kRevocationConnections = rpc::RpcServer::kRevocationWorkers + 2;
constexpr absl::Duration kFlushUsesEvery = absl::Seconds(10);
constexpr absl::Duration kFlushReportsEvery = absl::Milliseconds(200);
constexpr absl::Duration kLookForReportsEvery = absl::Milliseconds(50);
constexpr absl::Duration kMaintenanceEvery = absl::Seconds(1);

std::string HostOf(const std::string& listen) { return listen.substr(0, listen.rfind(':')); }

// What the server needs beside connections: the database's, files, epolls, sockets of its threads.
constexpr size_t kOtherDescriptors = 256;

rpc::Acceptor::Limits AcceptLimits(const ServiceOptions& options, size_t descriptors) {
  const size_t others = std::min(kOtherDescriptors, descriptors / 2);
  rpc::Acceptor::Limits limits;
  limits.connections = std::min<size_t>(static_cast<size_t>(options.max_connections), (descriptors - others) / 2);
  limits.per_address = options.max_connections_per_address > 0
                           ? static_cast<size_t>(options.max_connections_per_address)
                           : std::max<size_t>(1, limits.connections / 2);
  limits.unproven = std::max<size_t>(1, std::min(limits.unproven, limits.connections / 2));
  return limits;
}

std::string RandomReplicaId() { return absl::BytesToHexString(std::string(core::Secret::Random(16).Expose())); }

}  // namespace

std::string ServerName() {
  char host[256] = "";
  gethostname(host, sizeof host - 1);
  return absl::StrCat(host, ":", getpid());
}

keys::HashPool::Options HashPoolOptions(const ServiceOptions& options) {
  const int cores = static_cast<int>(std::thread::hardware_concurrency());
  return {.workers = options.hash_workers > 0 ? options.hash_workers : std::max(1, cores / 2),
          .profile = keys::FindHashProfile(options.hash_profile).value_or(keys::OwaspProfile())};
}

std::unique_ptr<storage::KeyStore> OpenStore(const std::string& connection_string, int connections) {
  storage::PostgresOptions options;
  options.connection_string = connection_string;
  options.pool_size = connections;
  options.connect_timeout = absl::Seconds(2);
  options.statement_timeout = absl::Seconds(4);
  return storage::PostgresKeyStore::Create(std::move(options));
}

absl::StatusOr<storage::SchemaState> CheckSchema(const std::string& connection_string) {
  const absl::StatusOr<storage::SchemaState> state = storage::ReadSchemaState(connection_string);
  if (!state.ok()) return state.status();
  if (absl::Status usable = storage::CheckSchemaState(*state); !usable.ok()) return usable;
  return state;
}

void Server::DoorbellFanout::Ring(int64_t revision, bool waiting) {
  if (waiting) own_.Heard(revision, true);
  if (others_ != nullptr) others_->Ring(revision, waiting);
}

Server::Server(const ServiceOptions& options, std::unique_ptr<keys::KeyRingHandle> ring,
               const std::string& connection_string, bool migrate, Dependencies parts)
    : connection_string_(connection_string),
      migrate_(migrate),
      ring_(std::move(ring)),
      replica_(RandomReplicaId()),
      state_(std::move(parts.state)),
      store_(OpenStore(connection_string, options.database_connections)),
      revocation_store_(OpenStore(connection_string, kRevocationConnections)),
      follower_store_(OpenStore(connection_string, 1)),
      follower_(*follower_store_, index_, hub_, clock_,
                {.replica = replica_, .doorbell = parts.peers == nullptr ? "" : parts.peers->advertised()}),
      hashes_(HashPoolOptions(options), clock_),
      minter_(*ring_, hashes_, /*store_proofs=*/options.proofs == "shared"),
      uses_(*store_, {}),
      checker_(*store_, index_, *ring_, hashes_, clock_, {.shared = options.proofs == "shared"}),
      verifier_(index_, *ring_, checker_, clock_, &uses_),
      keys_(*store_, *revocation_store_, index_, follower_, minter_, clock_,
            keys::KeyRegistry::Options{.label = options.label, .server = ServerName()}),
      organizations_(*store_, follower_, ServerName()),
      roles_(*store_),
      renewer_(follower_, index_, hub_, clock_,
               {.prepare = [this] { return Prepare(); },
                .explain_refusal = [this](const absl::Status& status) { return ExplainRefusal(status); },
                .wake =
                    [this] {
                      renewals_.Wake();
                      catch_ups_.Wake();
                    }}),
      doorbells_(renewer_),
      waiter_(*revocation_store_, follower_, &doorbells_, clock_, [](absl::Duration pause) { absl::SleepFor(pause); }) {
  rpc::RpcServer::Options rpc_options;
  rpc_options.listen = options.listen;
  rpc_options.admin_workers = options.admin_workers;
  rpc_options.accept = AcceptLimits(options, RaiseDescriptorLimit());
  rpc_options.library_accept = options.accept == "library";
  rpc_ = std::make_unique<rpc::RpcServer>(rpc::RpcServer::Domain{.keys = keys_,
                                                                 .organizations = organizations_,
                                                                 .roles = roles_,
                                                                 .verifier = verifier_,
                                                                 .ring = *ring_,
                                                                 .index = index_,
                                                                 .follower = follower_,
                                                                 .hub = hub_,
                                                                 .uses = uses_,
                                                                 .revocations = waiter_,
                                                                 .clock = clock_,
                                                                 .serving = serving_},
                                          rpc_options);
  if (!parts.followed.chain.empty()) follower_.RequireHistory(parts.followed);
  follower_.OnHistoryRewritten([](const std::string& what) {
    log::Error("the database's history was rewritten; loading it anew", {{"what", what}});
  });
  follower_.OnProgress([](int64_t loaded, int64_t expected) {
    log::Info("loading", {{"keys", loaded}, {"of_about", expected}});
  });
  follower_.OnDelivered([this](int64_t revision) { doorbells_.Ring(revision, /*waiting=*/false); });
  StartDoorbell(options, std::move(parts.peers));
}

void Server::StartDoorbell(const ServiceOptions& options, std::unique_ptr<doorbell::PeerDoorbell> peers) {
  const auto heard = [this](int64_t revision, bool waiting) { renewer_.Heard(revision, waiting); };
  if (peers != nullptr) {
    peers_ = peers.get();
    peers_->Start(*ring_, heard);
    log::Info("doorbell", {{"address", peers_->advertised()}});
    doorbells_.SetOthers(std::move(peers));
  } else if (options.doorbell == "notify") {
    doorbells_.SetOthers(std::make_unique<storage::NotifyDoorbell>(connection_string_, heard));
  }
}

absl::StatusOr<std::unique_ptr<Server>> Server::Start(const ServiceOptions& options,
                                                      std::unique_ptr<keys::KeyRingHandle> ring,
                                                      const std::string& connection_string, bool migrate) {
  Dependencies parts;
  if (!options.state_dir.empty()) {
    absl::StatusOr<StateDirectory> state = StateDirectory::Open(options.state_dir);
    if (!state.ok()) {
      return absl::Status(state.status().code(), absl::StrCat("--state-dir: ", std::string(state.status().message())));
    }
    const absl::StatusOr<std::optional<keys::LogPosition>> followed = state->Read();
    if (!followed.ok()) return followed.status();
    parts.followed = followed->value_or(keys::LogPosition());
    parts.state = std::make_unique<StateDirectory>(*std::move(state));
  }
  if (options.doorbell == "peer") {
    absl::StatusOr<std::unique_ptr<doorbell::PeerDoorbell>> peers =
        doorbell::PeerDoorbell::Bind({.listen = options.doorbell_listen, .advertise = options.doorbell_advertise});
    if (!peers.ok()) return peers.status();
    parts.peers = *std::move(peers);
  }
  std::unique_ptr<Server> server(new Server(options, std::move(ring), connection_string, migrate, std::move(parts)));
  const absl::StatusOr<int> port = server->rpc_->Start();
  if (!port.ok()) return absl::UnavailableError(port.status().message());
  const bool is_socket = options.listen.rfind("unix:", 0) == 0;
  server->address_ = is_socket ? options.listen : absl::StrCat(HostOf(options.listen), ":", *port);
  server->StartWatchdog(options.watchdog_seconds);
  log::Info("replica", {{"id", server->replica_}});  // As latchkeyd replicas lists it.
  const size_t descriptors = RaiseDescriptorLimit();
  const rpc::Acceptor::Limits connections = AcceptLimits(options, descriptors);
  log::Info("connections", {{"most", connections.connections},
                            {"per_address", connections.per_address},
                            {"unauthenticated", connections.unproven},
                            {"descriptors", descriptors}});
  server->renewals_.Start([server = server.get()] { return server->renewer_.RenewIfDue(); });
  server->catch_ups_.Start([server = server.get()]() -> std::optional<base::BootTime> {
    server->renewer_.CatchUpIfRung();
    return std::nullopt;
  });
  server->flusher_.Start(kLookForReportsEvery, [server = server.get()] { server->FlushUses(); });
  server->maintenance_.Start(kMaintenanceEvery, [server = server.get()] { server->RunMaintenance(); });
  return server;
}

void Server::StartWatchdog(double seconds) {
  if (seconds <= 0) return;
  watchdog_ = std::make_unique<ListenerWatchdog>(ListenerWatchdog::Options{
      .address = address_,
      .every = std::min(absl::Seconds(seconds), SystemdWatchdogInterval()),
      .progress = [this] { return rpc_->accept_turns(); },
      .alive = NotifySystemdAlive,
      .deaf =
          [] {
            // Nothing is drained: what would be waited for may be what hangs.
            std::_Exit(Report({kExitSoftware, "the own listener does not answer; exiting, to be started again"}));
          }});
}

Server::~Server() { Drain(absl::ZeroDuration()); }

bool Server::ready() const { return clock_.BootNow() < index_.Read().lease_until; }

void Server::UpdateHealth() {
  serving_.SetVerify(ready());
  serving_.SetAdmin(renewer_.database_answers());
}

absl::Status Server::Prepare() {
  if (migrate_) {
    if (absl::Status migrated = storage::Migrate(connection_string_); !migrated.ok()) return migrated;
  }
  const absl::StatusOr<storage::SchemaState> schema = CheckSchema(connection_string_);
  if (!schema.ok()) return schema.status();
  if (schema->level < keys::kNewestLevel) {
    log::Info("an upgrade is not finished: run latchkeyd upgrade finish once every server runs this version",
              {{"level", schema->level}, {"this_version", keys::kNewestLevel}});
  } else if (!schema->contracted) {
    log::Info("the end of an upgrade was interrupted: run latchkeyd upgrade finish again", {{"level", schema->level}});
  }
  return CheckKeyRing(*store_, *keys::KeyRingHandle::Pin(*ring_));
}

absl::Status Server::ExplainRefusal(const absl::Status& status) const {
  if (errors::ReasonOf(status) != errors::Reason::kHistoryRefused) return status;
  absl::Status explained(status.code(), absl::StrCat(std::string(status.message()),
                                                     "; if this is the right database, run latchkeyd accept-history",
                                                     " --state-dir ", state_ == nullptr ? "" : state_->path()));
  status.ForEachPayload(
      [&explained](absl::string_view url, const absl::Cord& payload) { explained.SetPayload(url, payload); });
  return explained;
}

void Server::FlushUses() {
  const base::BootTime now = clock_.BootNow();
  // Without a database uses wait; a report is told at once that it could not be written.
  const bool uses = now >= flush_uses_at_ && renewer_.database_answers();
  const bool reports = now >= flush_reports_at_ && uses_.reports_waiting();
  if (!uses && !reports) return;
  const absl::Status flushed = uses_.Flush();
  if (!flushed.ok()) log::Warning("uses wait to be written", {{"error", std::string(flushed.message())}});
  if (const int64_t dropped = uses_.dropped(); dropped != dropped_uses_) {
    log::Warning("uses were dropped", {{"since_start", dropped}});
    dropped_uses_ = dropped;
  }
  const base::BootTime done = clock_.BootNow();
  if (uses) flush_uses_at_ = done + kFlushUsesEvery;
  flush_reports_at_ = done + kFlushReportsEvery;
}

void Server::RunMaintenance() {
  SavePosition();
  if (!renewer_.database_answers()) return;
  // Errors are tried again in a second; that the database is away is the renewals' to report.
  checker_.FlushProofs().IgnoreError();
  waiter_.Observe().IgnoreError();
  if (peers_ == nullptr) return;
  if (const auto replicas = store_->ReadReplicas(); replicas.ok()) peers_->SetPeers(*replicas, replica_);
}

void Server::SavePosition() {
  if (state_ == nullptr) return;
  const absl::Status kept = state_->Save(index_.position());
  if (!kept.ok() && !position_complaint_) {
    log::Error("the state directory can't be written", {{"error", std::string(kept.message())}});
  }
  position_complaint_ = !kept.ok();
}

absl::Status Server::Deregister() {
  // A client of this server may believe in its last lease for a while yet, so who waits for all caches must wait for
  // it. The row stays then, as one that has applied everything (it answers no more), until its beat is found dead.
  constexpr int64_t kEverything = std::numeric_limits<int64_t>::max();
  const storage::Acknowledgements acknowledged = hub_.AcknowledgedBy(kEverything, clock_.BootNow());
  if (acknowledged.oldest() == kEverything) return follower_store_->LeaveReplica(replica_);
  const keys::LogPosition at = index_.position();
  return follower_store_->RenewLease({replica_, kEverything, acknowledged, at.chain}, at.rev, 2).status();
}

void Server::Drain(absl::Duration grace) {
  if (drained_) return;
  drained_ = true;
  watchdog_ = nullptr;
  // The lease is kept and reports are written while calls finish: without it they could not be answered.
  rpc_->Drain(grace);
  flusher_.Stop();
  maintenance_.Stop();
  const bool database = renewer_.database_answers();
  renewals_.Stop();
  catch_ups_.Stop();
  SavePosition();
  if (!database) return;  // Trying would only hold up the end.
  const absl::Status left = Deregister();
  const absl::Status uses = uses_.Flush();
  const absl::Status proofs = checker_.FlushProofs();
  for (const absl::Status& status : {left, uses, proofs}) {
    if (!status.ok()) log::Warning("not all was written at the end", {{"error", std::string(status.message())}});
  }
}

}  // namespace latchkey::app
