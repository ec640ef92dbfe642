#include <cstdio>

#include "absl/strings/str_cat.h"
#include "server/app/commands.h"
#include "server/app/database_url.h"
#include "server/app/exit_error.h"
#include "server/app/files.h"
#include "server/app/first_keys.h"
#include "server/app/key_ring_file.h"
#include "server/app/server.h"
#include "server/storage/postgres/migrations.h"

namespace latchkey::app {
namespace {

int Fail(const absl::Status& status) { return Report({ExitCodeOf(status), std::string(status.message())}); }

}  // namespace

int RunMigrate(const MigrateOptions& options) {
  const absl::StatusOr<std::string> url = ReadDatabaseUrl(options.database_url_file);
  if (!url.ok()) return Fail(url.status());
  if (absl::Status migrated = storage::Migrate(*url); !migrated.ok()) return Fail(migrated);
  const absl::StatusOr<storage::SchemaState> state = storage::ReadSchemaState(*url);
  if (!state.ok()) return Fail(state.status());
  std::printf("schema version %d, feature level %d\n", state->expanded, state->level);
  return kExitOk;
}

int RunBootstrap(const BootstrapOptions& options) {
  const absl::StatusOr<std::string> url = ReadDatabaseUrl(options.database_url_file);
  if (!url.ok()) return Fail(url.status());
  absl::StatusOr<keys::KeyRing> ring = LoadKeyRing(options.keyring_file);
  if (!ring.ok()) return Fail(ring.status());
  if (absl::Status migrated = storage::Migrate(*url); !migrated.ok()) return Fail(migrated);
  const std::vector<FirstKeyFile> keys = {{{"system", "First owner", "owner"}, options.out}};
  const absl::Status done =
      MakeFirstKeys(*url, keys::KeyRingHandle(*std::move(ring)), ServiceOptions(), keys, /*replace=*/false);
  if (absl::IsAlreadyExists(done) || absl::IsPermissionDenied(done)) {
    return Report({kExitCantCreate, std::string(done.message())});
  }
  if (!done.ok()) return Fail(done);
  std::printf("wrote the key of the first owner of organizations/system to %s\n", options.out.c_str());
  return kExitOk;
}

int RunKeyringInit(const KeyringInitOptions& options) {
  const absl::StatusOr<keys::KeyRing> ring = CreateKeyRing(options.keyring_file);
  if (!ring.ok()) return Report({kExitCantCreate, std::string(ring.status().message())});
  std::printf("wrote a new key ring to %s; keep a copy in a safe place: without it no key can be verified\n",
              options.keyring_file.c_str());
  return kExitOk;
}

int RunVersion() {
  std::printf("latchkeyd %s (schema version %d, feature levels %d to %d)\n", LATCHKEY_VERSION,
              storage::NewestSchemaVersion(), keys::kOldestLevel, keys::kNewestLevel);
  return kExitOk;
}

}  // namespace latchkey::app
