#include "server/app/command_line.h"

#include <CLI/CLI.hpp>

#include "server/app/commands.h"
#include "server/app/exit_error.h"
#include "server/app/signals.h"
#include "server/base/log.h"
#include "server/keys/crypto/phc_hash.h"

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
      .add_option(
          "--database-connections", options.database_connections,
          "size of the connection pool, beside one for following the log and one for --doorbell=notify; more than "
          "--admin-workers, so that creates never hold up a revocation")
      ->check(CLI::Range(2, 256))
      ->envname("LATCHKEYD_DATABASE_CONNECTIONS")
      ->capture_default_str();
  command.add_option("--drain-seconds", options.drain_seconds, "how long calls in flight may take after TERM")
      ->check(CLI::Range(0.0, 600.0))
      ->envname("LATCHKEYD_DRAIN_SECONDS")
      ->capture_default_str();
  command
      .add_option("--proofs", options.proofs,
                  "where proofs of key strings are kept, 16 bytes a key that say nothing without the key ring: shared "
                  "(in the database, so that restarts and other servers need no Argon2 for a key that was proven once) "
                  "or memory (each server proves each key for itself)")
      ->check(CLI::IsMember({"shared", "memory"}))
      ->envname("LATCHKEYD_PROOFS")
      ->capture_default_str();
  command
      .add_option("--doorbell", options.doorbell,
                  "how servers tell each other of a change within milliseconds: notify (PostgreSQL's NOTIFY; wants a "
                  "connection that is no pooler's), peer (UDP between the servers, authenticated by the key ring) or "
                  "none. A hint only: without it a change is everywhere within a second, and the bound holds anyway")
      ->check(CLI::IsMember({"notify", "peer", "none"}))
      ->envname("LATCHKEYD_DOORBELL")
      ->capture_default_str();
  command
      .add_option("--doorbell-listen", options.doorbell_listen,
                  "with --doorbell=peer: HOST:PORT to hear rings on (UDP), port 0 = a free one; the default is of use "
                  "on one machine only")
      ->envname("LATCHKEYD_DOORBELL_LISTEN")
      ->capture_default_str();
  command
      .add_option("--doorbell-advertise", options.doorbell_advertise,
                  "with --doorbell=peer: HOST or HOST:PORT that the other servers ring at; default: what was bound. "
                  "Needed if --doorbell-listen is 0.0.0.0 or [::]")
      ->envname("LATCHKEYD_DOORBELL_ADVERTISE");
  command.add_option("--log-level", options.log_level, "debug, info, warning or error; JSON lines on stderr")
      ->check(CLI::IsMember({"debug", "info", "warning", "error"}))
      ->envname("LATCHKEYD_LOG_LEVEL")
      ->capture_default_str();
}

void AddStateFlag(CLI::App& command, std::string& directory, const std::string& more) {
  command
      .add_option(
          "--state-dir", directory,
          "0700 directory of this one server, where it remembers how far it followed the database's history, so "
          "that it does not serve a database that was replaced or has lost changes while it was down. " +
              more)
      ->envname("LATCHKEYD_STATE_DIR");
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
      "missing or open key ring or database URL file, a database this build can't use or whose history is not the one\n"
      "that was followed (see accept-history), a damaged state directory, or bootstrap a second time.");

  ServeOptions serve;
  CLI::App* const serve_command = app.add_subcommand(
      "serve",
      "Serve KeyAdmin and KeyVerify on a PostgreSQL database. Without the database it listens, reports "
      "NOT_SERVING and keeps trying. TERM drains.");
  AddServiceFlags(*serve_command, serve.service);
  AddDatabaseFlag(*serve_command, serve.database_url_file);
  AddKeyringFlag(*serve_command, serve.keyring_file);
  AddStateFlag(*serve_command, serve.service.state_dir, "Default: none, nothing is remembered");
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

  AddStateFlag(*dev_command, dev.service.state_dir, "Default: state in the data directory");

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

  AcceptHistoryOptions accept_history;
  CLI::App* const accept_command = app.add_subcommand(
      "accept-history",
      "Show the history that a server followed beside the database's, let the server follow the database's from now "
      "on, and exit. For a server that refuses to start after its database was restored or failed over: the changes "
      "that the database has lost are lost, revocations among them; check that keys deleted lately are deleted. Stop "
      "the server first.");
  AddDatabaseFlag(*accept_command, accept_history.database_url_file);
  AddStateFlag(*accept_command, accept_history.state_dir, "The one that the server is started with");
  accept_command->get_option("--state-dir")->required();

  SetBoundOptions set_bound;
  CLI::App* const bound_command = app.add_subcommand(
      "set-bound",
      "Set L, the time after which no server and no cache answers from what it heard before (default 5 s), in the "
      "database, and exit. All servers take it over at their next renewal. A short one revokes sooner when something "
      "fails; a long one answers longer while the database is away.");
  AddDatabaseFlag(*bound_command, set_bound.database_url_file);
  bound_command->add_option("--seconds", set_bound.seconds, "L, 2 to 60")->required()->check(CLI::Range(2, 60));

  ReplicasOptions replicas;
  CLI::App* const replicas_command = app.add_subcommand(
      "replicas",
      "List the servers that renew their lease in the database, with what each has applied and what its clients have "
      "acknowledged, and exit. One whose beat does not rise from call to call is dead or cut off.");
  AddDatabaseFlag(*replicas_command, replicas.database_url_file);

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
  if (*accept_command) return RunAcceptHistory(accept_history);
  if (*bound_command) return RunSetBound(set_bound);
  if (*replicas_command) return RunReplicas(replicas);
  if (*init_command) return RunKeyringInit(keyring_init);
  if (*version_command) return RunVersion();
  return kExitUsage;
}

}  // namespace latchkey::app
