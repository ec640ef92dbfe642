#include "server/app/service.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "server/app/key_ring_file.h"
#include "server/base/errors.h"
#include "server/base/log.h"
#include "server/storage/postgres/migrations.h"

namespace latchkey::app {
namespace {

constexpr absl::Duration kShortestBackoff = absl::Milliseconds(100);
constexpr absl::Duration kLongestBackoff = absl::Seconds(2);
constexpr int kStalePolls = 3;  // A database that has not answered for so many polls counts as away.
constexpr absl::Duration kAnchorEvery = absl::Minutes(1);

std::string HostOf(const std::string& listen) { return listen.substr(0, listen.rfind(':')); }

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

Service::Service(const ServiceOptions& options, keys::KeyRing ring, const std::string& connection_string, bool migrate)
    : connection_string_(connection_string),
      migrate_(migrate),
      ring_(std::move(ring)),
      store_(OpenStore(connection_string, options.database_connections)),
      follower_store_(OpenStore(connection_string, 1)),
      follower_(*follower_store_, index_, clock_, keys::LogFollower::Options()),
      hashes_(HashPoolOptions(options), clock_),
      minter_(ring_, hashes_),
      verifier_(*store_, index_, ring_, hashes_, clock_),
      keys_(*store_, index_, follower_, minter_, clock_,
            keys::KeyRegistry::Options{.label = options.label, .server = ServerName()}),
      organizations_(*store_, follower_, ServerName()),
      roles_(*store_) {
  rpc::RpcServer::Options rpc_options;
  rpc_options.listen = options.listen;
  rpc_options.admin_workers = options.admin_workers;
  rpc_ = std::make_unique<rpc::RpcServer>(
      rpc::RpcServer::Domain{keys_, organizations_, roles_, verifier_, ring_, serving_}, rpc_options);
  follower_.OnHistoryRewritten([](const std::string& what) {
    log::Error("the database's history was rewritten; loading it anew", {{"what", what}});
  });
}

absl::StatusOr<std::unique_ptr<Service>> Service::Start(const ServiceOptions& options, keys::KeyRing ring,
                                                        const std::string& connection_string, bool migrate) {
  std::unique_ptr<Service> service(new Service(options, std::move(ring), connection_string, migrate));
  const absl::StatusOr<int> port = service->rpc_->Start();
  if (!port.ok()) return absl::UnavailableError(port.status().message());
  const bool is_socket = options.listen.rfind("unix:", 0) == 0;
  service->address_ = is_socket ? options.listen : absl::StrCat(HostOf(options.listen), ":", *port);
  service->follow_ = std::thread([service = service.get()] { service->Follow(); });
  return service;
}

Service::~Service() { Drain(absl::ZeroDuration()); }

bool Service::ready() const { return clock_.BootNow() < index_.Read().lease_until; }

void Service::Tick() {
  serving_.SetVerify(ready());
  const base::BootTime ok_at = base::BootTime::FromNanoseconds(database_ok_at_ns_);
  const bool recent = clock_.BootNow() - ok_at < kStalePolls * follower_.poll_interval();
  serving_.SetAdmin(database_ok_ && recent);
}

absl::Status Service::fatal() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return fatal_;
}

absl::Status Service::Prepare() {
  if (migrate_) {
    if (absl::Status migrated = storage::Migrate(connection_string_); !migrated.ok()) return migrated;
  } else {
    const absl::StatusOr<int> version = storage::SchemaVersion(connection_string_);
    if (!version.ok()) return version.status();
    if (*version != storage::NewestSchemaVersion()) {
      return absl::FailedPreconditionError(absl::StrCat("the database has schema version ", *version,
                                                        ", this build wants ", storage::NewestSchemaVersion(),
                                                        "; run latchkeyd migrate"));
    }
  }
  return CheckKeyRing(*store_, ring_);
}

void Service::NoteDatabase(const absl::Status& status) {
  const bool was_ok = database_ok_.exchange(status.ok());
  if (status.ok() == was_ok) return;
  if (status.ok()) {
    log::Info("the database answers", {{"revision", index_.position().rev}, {"keys", index_.key_count()}});
  } else {
    log::Warning("the database does not answer; trying again", {{"error", std::string(status.message())}});
  }
}

void Service::LogAnchor() {
  const keys::LogPosition head = index_.position();
  log::Info("change log head", {{"revision", head.rev}, {"chain", absl::BytesToHexString(head.chain)}});
}

void Service::Follow() {
  bool prepared = false;
  bool complained = false;
  absl::Duration backoff = kShortestBackoff;
  base::BootTime anchor_at;
  std::unique_lock<std::mutex> lock(mutex_);
  while (!stopping_) {
    lock.unlock();
    absl::Status status;
    if (!prepared) {
      status = Prepare();
      prepared = status.ok();
      const bool will_end = status.code() == absl::StatusCode::kFailedPrecondition;
      if (!status.ok() && !will_end && !complained) {
        log::Warning("the database is not ready; trying again", {{"error", std::string(status.message())}});
        complained = true;
      }
    }
    const bool is_fatal = status.code() == absl::StatusCode::kFailedPrecondition;
    if (prepared) {
      const base::BootTime sent_at = clock_.BootNow();
      status = follower_.Poll();
      if (status.ok()) database_ok_at_ns_ = sent_at.nanoseconds();
      NoteDatabase(status);
      if (status.ok() && clock_.BootNow() >= anchor_at) {
        LogAnchor();
        anchor_at = clock_.BootNow() + kAnchorEvery;
      }
    }
    lock.lock();
    if (is_fatal) {
      fatal_ = status;
      return;
    }
    backoff = status.ok() ? kShortestBackoff : std::min(backoff * 2, kLongestBackoff);
    const absl::Duration pause = status.ok() ? follower_.poll_interval() : std::min(backoff, follower_.poll_interval());
    wake_.wait_for(lock, absl::ToChronoMilliseconds(pause), [this] { return stopping_; });
  }
}

void Service::Drain(absl::Duration grace) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (stopping_ && !follow_.joinable()) return;
  }
  // The follower goes on while calls finish: without it they could not be decided.
  rpc_->Drain(grace);
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  if (follow_.joinable()) follow_.join();
}

}  // namespace latchkey::app
