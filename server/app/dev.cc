#include <algorithm>
#include <condition_variable>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <mutex>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "server/app/commands.h"
#include "server/app/dev/embedded_postgres.h"
#include "server/app/exit_error.h"
#include "server/app/files.h"
#include "server/app/first_keys.h"
#include "server/app/key_ring_file.h"
#include "server/app/listen_address.h"
#include "server/app/server.h"
#include "server/app/signals.h"
#include "server/base/errors.h"
#include "server/base/log.h"
#include "server/storage/postgres/migrations.h"

namespace latchkey::app {
namespace {

constexpr char kKeyringFile[] = "/keyring.json";

// As one word for a shell.
std::string Quoted(const std::string& text) {
  const bool plain = text.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._/+-") ==
                     std::string::npos;
  return plain ? text : absl::StrCat("'", absl::StrReplaceAll(text, {{"'", "'\\''"}}), "'");
}

// The command as a shell finds it: in the build tree it stands beside the server and is on nobody's PATH.
std::string LatchkeyCommand() {
  std::error_code error;
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", error);
  const std::filesystem::path built = self.parent_path().parent_path() / "client" / "latchkey";
  return !error && std::filesystem::exists(built, error) ? Quoted(built.string()) : "latchkey";
}

void PrintWelcome(const std::string& address, const std::string& data_dir) {
  const std::string key_file = Quoted(data_dir + "/acme.key");
  if (absl::StartsWith(address, "unix:")) {
    // The other clients want a flag of their own for sockets.
    std::printf(
        "latchkey ready on %s\n\n%s --server %s --credentials %s \\\n    keys create --organization acme "
        "--name 'CI deploy' --role editor\n",
        address.c_str(), LatchkeyCommand().c_str(), Quoted(address).c_str(), key_file.c_str());
    std::fflush(stdout);
    return;
  }
  std::printf(R"text(latchkey ready on %s

Create a key with grpcurl:
  export LATCHKEY_KEY="$(cat %s)"
  grpcurl -plaintext -expand-headers -H 'authorization: Bearer ${LATCHKEY_KEY}' \
    -d '{"parent":"organizations/acme","key":{"displayName":"CI deploy","role":"editor"}}' \
    %s latchkey.v1.KeyAdmin/CreateKey

The same with buf curl:
  printf 'authorization: Bearer %%s\n' "$LATCHKEY_KEY" | buf curl --protocol grpc --http2-prior-knowledge -H @- \
    -d '{"parent":"organizations/acme","key":{"displayName":"CI deploy","role":"editor"}}' \
    http://%s/latchkey.v1.KeyAdmin/CreateKey

The same with latchkey:
  %s --server %s --credentials %s \
    keys create --organization acme --name 'CI deploy' --role editor
)text",
              address.c_str(), key_file.c_str(), address.c_str(), address.c_str(), LatchkeyCommand().c_str(),
              address.c_str(), key_file.c_str());
  std::fflush(stdout);
}

absl::StatusOr<keys::KeyRing> LoadOrCreateKeyRing(const std::string& path, bool first_start) {
  absl::StatusOr<core::Secret> text = ReadSecretFile(path);
  if (absl::IsNotFound(text.status()) && first_start) return CreateKeyRing(path);
  return LoadKeyRing(path);
}

// The data directory with what lives in it, in the order it must be taken and given back.
struct DataDirectory {
  std::string path;
  std::unique_ptr<FileLock> lock;
  std::unique_ptr<EmbeddedPostgres> postgres;
};

ExitError Open(const DevOptions& options, DataDirectory& data) {
  const absl::StatusOr<std::string> path = MakePrivateDirectory(options.data_dir);
  if (!path.ok()) return {kExitCantCreate, absl::StrCat("--data-dir: ", std::string(path.status().message()))};
  data.path = *path;
  absl::StatusOr<FileLock> lock = FileLock::Take(data.path + "/lock");
  if (!lock.ok() && !absl::IsFailedPrecondition(lock.status())) {
    return {kExitCantCreate, absl::StrCat("--data-dir: ", std::string(lock.status().message()))};
  }
  if (!lock.ok()) {
    return {kExitBusy, absl::StrCat("--data-dir ", data.path,
                                    " is used by another latchkeyd dev; stop it first or name another directory")};
  }
  data.lock = std::make_unique<FileLock>(*std::move(lock));
  return {};
}

ExitError StartPostgres(DataDirectory& data) {
  absl::StatusOr<std::unique_ptr<EmbeddedPostgres>> postgres =
      EmbeddedPostgres::Start({.directory = data.path + "/postgres"});
  if (!postgres.ok()) return {kExitUnavailable, std::string(postgres.status().message())};
  data.postgres = *std::move(postgres);
  return {};
}

// Keeps the private PostgreSQL alive: the server on top of it just sees a database that was away. A thread of its own,
// as a restart may take long, and health and signals must not wait for it. Nobody else touches `postgres` meanwhile.
class PostgresSupervisor {
 public:
  explicit PostgresSupervisor(EmbeddedPostgres& postgres) : postgres_(postgres), thread_([this] { Supervise(); }) {}
  ~PostgresSupervisor() {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      stopping_ = true;
    }
    wake_.notify_all();
    thread_.join();
  }

 private:
  void Supervise() {
    absl::Duration pause = kLookEvery;
    std::unique_lock<std::mutex> lock(mutex_);
    while (!wake_.wait_for(lock, absl::ToChronoMilliseconds(pause), [this] { return stopping_; })) {
      lock.unlock();
      if (postgres_.Running()) {
        pause = kLookEvery;
      } else {
        log::Error("PostgreSQL ended; starting it again");
        const absl::Status restarted = postgres_.Restart();
        if (!restarted.ok()) log::Error("PostgreSQL does not start", {{"error", std::string(restarted.message())}});
        pause = restarted.ok() ? kLookEvery : std::min(pause * 2, kLongestPause);
      }
      lock.lock();
    }
  }

  static constexpr absl::Duration kLookEvery = absl::Milliseconds(100);
  static constexpr absl::Duration kLongestPause = absl::Seconds(10);
  EmbeddedPostgres& postgres_;
  std::mutex mutex_;
  std::condition_variable wake_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace

int RunDev(const DevOptions& options) {
  const auto fail = [](const absl::Status& status) {
    return Report({ExitCodeOf(status), std::string(status.message())});
  };
  if (absl::Status address = CheckListenAddress(options.service.listen); !address.ok()) return fail(address);
  BlockStopSignals();
  DataDirectory data;
  if (const ExitError error = Open(options, data); error.code != kExitOk) return Report(error);
  const bool first_start = !DirectoryExists(data.path + "/postgres");
  absl::StatusOr<keys::KeyRing> ring = LoadOrCreateKeyRing(data.path + kKeyringFile, first_start);
  if (!ring.ok()) return fail(ring.status());
  if (const ExitError error = StartPostgres(data); error.code != kExitOk) return Report(error);
  const std::string database = data.postgres->ConnectionString();
  if (absl::Status migrated = storage::Migrate(database); !migrated.ok()) return fail(migrated);
  const std::vector<FirstKeyFile> keys = {
      {{"system", "First owner", "owner"}, data.path + "/system.key"},
      {{"acme", "First owner", "owner"}, data.path + "/acme.key"},
      {{"system", "First verifier", "verifier"}, data.path + "/verifier.key"},
  };
  // For the commands that work on a database while this one runs.
  if (absl::Status written = WriteSecretFile(data.path + "/database.url", core::Secret(database + "\n"), true);
      !written.ok()) {
    return fail(written);
  }
  auto handle = std::make_unique<keys::KeyRingHandle>(*std::move(ring));
  const absl::Status made = MakeFirstKeys(database, *handle, options.service, keys, /*replace=*/true);
  if (!made.ok() && errors::ReasonOf(made) != errors::Reason::kAlreadyBootstrapped) return fail(made);

  ServiceOptions service_options = options.service;
  if (service_options.state_dir.empty()) service_options.state_dir = data.path + "/state";
  absl::StatusOr<std::unique_ptr<Server>> server =
      Server::Start(service_options, std::move(handle), database, /*migrate=*/false);
  if (!server.ok()) return fail(server.status());
  auto supervisor = std::make_unique<PostgresSupervisor>(*data.postgres);
  bool announced = false;
  while (!WaitForStop(absl::Milliseconds(50))) {
    (*server)->UpdateHealth();
    if (const absl::Status fatal = (*server)->fatal(); !fatal.ok()) {
      server->reset();
      supervisor.reset();
      if (errors::ReasonOf(fatal) != errors::Reason::kHistoryRefused) return fail(fatal);
      // There is no database to name to accept-history once this process has ended.
      return Report({kExitConfig, absl::StrCat(std::string(fatal.message()), "; under latchkeyd dev, remove ",
                                               service_options.state_dir, "/position instead")});
    }
    if (!announced && (*server)->ready()) {
      PrintWelcome((*server)->address(), data.path);
      announced = true;
    }
  }
  (*server)->Drain(absl::Seconds(options.service.drain_seconds));
  server->reset();
  supervisor.reset();
  data.postgres.reset();
  return kExitOk;
}

}  // namespace latchkey::app
