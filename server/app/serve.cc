#include <cstdio>

#include "server/app/commands.h"
#include "server/app/database_url.h"
#include "server/app/exit_error.h"
#include "server/app/key_ring_file.h"
#include "server/app/listen_address.h"
#include "server/app/server.h"
#include "server/app/signals.h"
#include "server/base/log.h"

namespace latchkey::app {

int RunServe(const ServeOptions& options) {
  const auto fail = [](const absl::Status& status) {
    return Report({ExitCodeOf(status), std::string(status.message())});
  };
  if (absl::Status address = CheckListenAddress(options.service.listen); !address.ok()) return fail(address);
  absl::StatusOr<keys::KeyRing> ring = LoadKeyRing(options.keyring_file);
  if (!ring.ok()) return fail(ring.status());
  const absl::StatusOr<std::string> url = ReadDatabaseUrl(options.database_url_file);
  if (!url.ok()) return fail(url.status());

  BlockStopSignals();
  absl::StatusOr<std::unique_ptr<Server>> server =
      Server::Start(options.service, std::make_unique<keys::KeyRingHandle>(*std::move(ring)), *url, options.migrate);
  if (!server.ok()) return fail(server.status());
  log::Info("listening", {{"address", (*server)->address()}});
  if (options.service.state_dir.empty()) {
    log::Warning(
        "no --state-dir: a database that is replaced or loses changes while this server is down will not be noticed");
  }
  bool announced = false;
  while (!WaitForStop(absl::Milliseconds(50))) {
    (*server)->UpdateHealth();
    if (const absl::Status fatal = (*server)->fatal(); !fatal.ok()) {
      server->reset();
      return fail(fatal);
    }
    if (!announced && (*server)->ready()) {
      std::printf("latchkey ready on %s\n", (*server)->address().c_str());
      std::fflush(stdout);
      log::Info("ready", {{"address", (*server)->address()}});
      announced = true;
    }
  }
  log::Info("stopping");
  (*server)->Drain(absl::Seconds(options.service.drain_seconds));
  log::Info("stopped");
  return kExitOk;
}

}  // namespace latchkey::app
