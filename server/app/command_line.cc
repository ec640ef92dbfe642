#include "server/app/command_line.h"

#include <CLI/CLI.hpp>

#include "server/app/commands.h"
#include "server/app/exit_error.h"
#include "server/app/signals.h"
#include "server/base/log.h"
#include "server/keys/hashing.h"

#include "absl/strings/str_cat.h"
#include "client/core/key_format.h"
#include "client/core/redaction.h"

namespace latchkey::app {
namespace {

std::string CheckLabel(const std::string& label) {
  return core::IsLabel(label) ? "" : "wanted at most 15 of [a-z0-9_]";
}

void AddServiceFlags(CLI::App& command, ServiceOptions& options) {
  command.add_option("--listen", options.listen, "HOST:PORT on loopback, or unix:PATH; port 0 picks a free one")
      ->envname("LATCHKEYD_LISTEN")
      ->capture_default_str();
  command
      .add_option(
          "--hash-profile", options.hash_profile,
          "Argon2id cost of new keys: owasp (19 MiB, 2 passes) or random-key (1 MiB, 1 pass; enough for 256-bit "
          "random secrets, for large fleets)")
      ->check(CLI::IsMember({"owasp", "random-key"}))
      ->envname("LATCHKEYD_HASH_PROFILE")
      ->capture_default_str();
  command
      .add_option("--hash-workers", options.hash_workers,
                  "threads that run Argon2, each with its own fixed memory; 0 = half the cores")
      ->check(CLI::Range(0, 64))
      ->envname("LATCHKEYD_HASH_WORKERS")
      ->capture_default_str();
  command.add_option("--label", options.label, "cosmetic text in front of new key strings, at most 15 of [a-z0-9_]")
      ->check(CheckLabel)
      ->envname("LATCHKEYD_LABEL");
  command
      .add_option("--admin-workers", options.admin_workers,
                  "threads that serve CreateKey, and as many for the rest of KeyAdmin")
      ->check(CLI::Range(1, 256))
      ->envname("LATCHKEYD_ADMIN_WORKERS")
      ->capture_default_str();
  command
      .add_option("--database-connections", options.database_connections,
                  "size of the connection pool, beside one for following the log; more than --admin-workers, so that "
                  "creates never hold up a revocation")
      ->check(CLI::Range(2, 256))
      ->envname("LATCHKEYD_DATABASE_CONNECTIONS")
      ->capture_default_str();
  command.add_option("--drain-seconds", options.drain_seconds, "how long calls in flight may take after TERM")
      ->check(CLI::Range(0.0, 600.0))
      ->envname("LATCHKEYD_DRAIN_SECONDS")
      ->capture_default_str();
  command.add_option("--log-level", options.log_level, "debug, info, warning or error; JSON lines on stderr")
      ->check(CLI::IsMember({"debug", "info", "warning", "error"}))
      ->envname("LATCHKEYD_LOG_LEVEL")
      ->capture_default_str();
}

void AddDatabaseFlag(CLI::App& command, std::string& file) {
  command
      .add_option(
          "--database-url-file", file,
          "0600 file with one line, a PostgreSQL connection string or URL; its password never appears elsewhere")
      ->required()
      ->envname("LATCHKEYD_DATABASE_URL_FILE");
}

void AddKeyringFlag(CLI::App& command, std::string& file, const std::string& names = "--keyring") {
  command.add_option(names, file, "0600 file made by `latchkeyd keyring init`")
      ->required()
      ->envname("LATCHKEYD_KEYRING");
}

void SetLogLevel(const std::string& name) {
  if (name == "debug") log::SetLevel(log::Level::kDebug);
  if (name == "warning") log::SetLevel(log::Level::kWarning);
  if (name == "error") log::SetLevel(log::Level::kError);
}

}  // namespace

int RunCommandLine(int argc, char** argv) {
  HardenProcess();
  CLI::App app("latchkeyd: a gRPC authorization service for API keys.", "latchkeyd");
  app.require_subcommand(1);
  app.set_config("--config", "", "TOML or INI file with the subcommands' flags, one [section] a subcommand");
  app.allow_config_extras(CLI::config_extras_mode::error);
  app.fallthrough();
  app.set_version_flag("--version", absl::StrCat("latchkeyd ", LATCHKEY_VERSION));
  app.footer(
      "A flag beats the file, the file beats the environment.\n"
      "Exit codes: 0 stopped as asked; 64 a wrong flag or config entry; 69 the database or the address is not to be "
      "had;\n"
      "70 a fault of ours; 73 a file or directory can't be made or used; 75 the data directory is in use; 78 a wrong,\n"
      "missing or open key ring or database URL file, a database this build can't use, or bootstrap a second time.");

  ServeOptions serve;
  CLI::App* const serve_command = app.add_subcommand(
      "serve",
      "Serve KeyAdmin and KeyVerify on a PostgreSQL database. Without the database it listens, reports "
      "NOT_SERVING and keeps trying. TERM drains.");
  AddServiceFlags(*serve_command, serve.service);
  AddDatabaseFlag(*serve_command, serve.database_url_file);
  AddKeyringFlag(*serve_command, serve.keyring_file);
  serve_command->add_flag("--migrate,!--no-migrate", serve.migrate,
                          "bring the schema up to date at the start (default); safe with several replicas");

  DevOptions dev;
  CLI::App* const dev_command = app.add_subcommand(
      "dev",
      "Serve with a private PostgreSQL under --data-dir, made on the first start together with organization acme "
      "and the key files system.key, acme.key and verifier.key.");
  AddServiceFlags(*dev_command, dev.service);
  dev_command->add_option("--data-dir", dev.data_dir, "where everything lives; made 0700 if missing")
      ->envname("LATCHKEYD_DATA_DIR")
      ->capture_default_str();

  MigrateOptions migrate;
  CLI::App* const migrate_command = app.add_subcommand("migrate", "Bring the database's schema up to date, and exit.");
  AddDatabaseFlag(*migrate_command, migrate.database_url_file);

  BootstrapOptions bootstrap;
  CLI::App* const bootstrap_command =
      app.add_subcommand("bootstrap",
                         "Bring the schema up to date and make the first owner of organization system, only while no "
                         "owner has ever existed, and exit.");
  AddDatabaseFlag(*bootstrap_command, bootstrap.database_url_file);
  AddKeyringFlag(*bootstrap_command, bootstrap.keyring_file);
  bootstrap_command->add_option("--out", bootstrap.out, "new 0600 file for the key string")->required();

  KeyringInitOptions keyring_init;
  CLI::App* const keyring_command = app.add_subcommand("keyring", "Make the key ring.");
  keyring_command->require_subcommand(1);
  CLI::App* const init_command = keyring_command->add_subcommand("init", "Write a new key ring, and exit.");
  AddKeyringFlag(*init_command, keyring_init.keyring_file, "--keyring,--out");

  CLI::App* const version_command = app.add_subcommand("version", "Print the version, and exit.");

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);  // --help.
    // A word nobody knows is the likelier mistake than the flag or subcommand that is then missing.
    const std::vector<std::string> unknown = app.remaining(/*recurse=*/true);
    const std::string what = unknown.empty() ? std::string(error.what()) : "unknown argument " + unknown.front();
    return Report({kExitUsage, core::Redacted(what) + " (see latchkeyd --help)"});
  }
  if (*serve_command) {
    SetLogLevel(serve.service.log_level);
    return RunServe(serve);
  }
  if (*dev_command) {
    SetLogLevel(dev.service.log_level);
    return RunDev(dev);
  }
  if (*migrate_command) return RunMigrate(migrate);
  if (*bootstrap_command) return RunBootstrap(bootstrap);
  if (*init_command) return RunKeyringInit(keyring_init);
  if (*version_command) return RunVersion();
  return kExitUsage;
}

}  // namespace latchkey::app
