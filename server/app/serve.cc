#include <cstdio>

#include "server/app/commands.h"
#include "server/app/database_url.h"
#include "server/app/exit_error.h"
#include "server/app/key_ring_file.h"
#include "server/app/listen_address.h"
#include "server/app/service.h"
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
  absl::StatusOr<std::unique_ptr<Service>> service =
      Service::Start(options.service, *std::move(ring), *url, options.migrate);
  if (!service.ok()) return fail(service.status());
  log::Info("listening", {{"address", (*service)->address()}});
  if (options.service.state_dir.empty()) {
    log::Warning(
        "no --state-dir: a database that is replaced or loses changes while this server is down will not be noticed");
  }
  bool announced = false;
  while (!WaitForStop(absl::Milliseconds(50))) {
    (*service)->Tick();
    if (const absl::Status fatal = (*service)->fatal(); !fatal.ok()) {
      service->reset();
      return fail(fatal);
    }
    if (!announced && (*service)->ready()) {
      std::printf("latchkey ready on %s\n", (*service)->address().c_str());
      std::fflush(stdout);
      log::Info("ready", {{"address", (*service)->address()}});
      announced = true;
    }
  }
  log::Info("stopping");
  (*service)->Drain(absl::Seconds(options.service.drain_seconds));
  log::Info("stopped");
  return kExitOk;
}

}  // namespace latchkey::app
