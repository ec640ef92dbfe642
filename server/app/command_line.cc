#include "server/app/command_line.h"

#include <CLI/CLI.hpp>

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/core/redaction.h"
#include "server/app/commands.h"
#include "server/app/exit_error.h"
#include "server/app/service_flags.h"
#include "server/app/signals.h"
#include "server/base/log.h"

namespace latchkey::app {
namespace {

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

// What the command line asks for; empty until a subcommand is parsed.
using Run = std::function<int()>;

// When `command` was parsed, `run` is `function` with its options.
template <typename Options>
void RunWhenParsed(CLI::App& command, Run& run, std::shared_ptr<Options> options, int (*function)(const Options&)) {
  command.callback(
      [&run, options = std::move(options), function] { run = [options, function] { return function(*options); }; });
}

void AddServeCommand(CLI::App& app, Run& run) {
  const auto options = std::make_shared<ServeOptions>();
  CLI::App& command = *app.add_subcommand(
      "serve",
      "Serve KeyAdmin and KeyVerify on a PostgreSQL database. Without the database it listens, reports "
      "NOT_SERVING and keeps trying. TERM drains.");
  AddServiceFlags(command, options->service);
  AddDatabaseFlag(command, options->database_url_file);
  AddKeyringFlag(command, options->keyring_file);
  AddStateFlag(command, options->service.state_dir, "Default: none, nothing is remembered");
  command.add_flag("--migrate,!--no-migrate", options->migrate,
                   "bring the schema up to date at the start (default); safe with several replicas");
  RunWhenParsed<ServeOptions>(command, run, options, [](const ServeOptions& given) {
    SetLogLevel(given.service.log_level);
    return RunServe(given);
  });
}

void AddDevCommand(CLI::App& app, Run& run) {
  const auto options = std::make_shared<DevOptions>();
  CLI::App& command = *app.add_subcommand(
      "dev",
      "Serve with a private PostgreSQL under --data-dir, made on the first start together with organization acme "
      "and the key files system.key, acme.key and verifier.key.");
  AddServiceFlags(command, options->service);
  command.add_option("--data-dir", options->data_dir, "where everything lives; made 0700 if missing")
      ->envname("LATCHKEYD_DATA_DIR")
      ->capture_default_str();
  AddStateFlag(command, options->service.state_dir, "Default: state in the data directory");
  RunWhenParsed<DevOptions>(command, run, options, [](const DevOptions& given) {
    SetLogLevel(given.service.log_level);
    return RunDev(given);
  });
}

void AddMigrateCommand(CLI::App& app, Run& run) {
  const auto options = std::make_shared<MigrateOptions>();
  CLI::App& command = *app.add_subcommand("migrate", "Bring the database's schema up to date, and exit.");
  AddDatabaseFlag(command, options->database_url_file);
  RunWhenParsed(command, run, options, RunMigrate);
}

void AddBootstrapCommand(CLI::App& app, Run& run) {
  const auto options = std::make_shared<BootstrapOptions>();
  CLI::App& command =
      *app.add_subcommand("bootstrap",
                          "Bring the schema up to date and make the first owner of organization system, only while no "
                          "owner has ever existed, and exit.");
  AddDatabaseFlag(command, options->database_url_file);
  AddKeyringFlag(command, options->keyring_file);
  command.add_option("--out", options->out, "new 0600 file for the key string")->required();
  RunWhenParsed(command, run, options, RunBootstrap);
}

void AddAcceptHistoryCommand(CLI::App& app, Run& run) {
  const auto options = std::make_shared<AcceptHistoryOptions>();
  CLI::App& command = *app.add_subcommand(
      "accept-history",
      "Show the history that a server followed beside the database's, let the server follow the database's from now "
      "on, and exit. For a server that refuses to start after its database was restored or failed over: the changes "
      "that the database has lost are lost, revocations among them; check that keys deleted lately are deleted. Stop "
      "the server first.");
  AddDatabaseFlag(command, options->database_url_file);
  AddStateFlag(command, options->state_dir, "The one that the server is started with");
  command.get_option("--state-dir")->required();
  RunWhenParsed(command, run, options, RunAcceptHistory);
}

void AddSetBoundCommand(CLI::App& app, Run& run) {
  const auto options = std::make_shared<SetBoundOptions>();
  CLI::App& command = *app.add_subcommand(
      "set-bound",
      "Set L, the time after which no server and no cache answers from what it heard before (default 5 s), in the "
      "database, and exit. All servers take it over at their next renewal. A short one revokes sooner when something "
      "fails; a long one answers longer while the database is away.");
  AddDatabaseFlag(command, options->database_url_file);
  command.add_option("--seconds", options->seconds, "L, 2 to 60")->required()->check(CLI::Range(2, 60));
  RunWhenParsed(command, run, options, RunSetBound);
}

void AddUpgradeCommand(CLI::App& app, Run& run) {
  const auto options = std::make_shared<UpgradeFinishOptions>();
  CLI::App& upgrade = *app.add_subcommand("upgrade", "End a rolling upgrade.");
  upgrade.require_subcommand(1);
  CLI::App& command = *upgrade.add_subcommand(
      "finish",
      "Let the installation use what this version can do and the one before can't read, and exit. Servers of both "
      "versions share a database until then, and going back is starting the older one; afterwards it can't be started. "
      "Refused while a server of the version before runs.");
  AddDatabaseFlag(command, options->database_url_file);
  RunWhenParsed(command, run, options, RunUpgradeFinish);
}

void AddReplicasCommand(CLI::App& app, Run& run) {
  const auto options = std::make_shared<ReplicasOptions>();
  CLI::App& command = *app.add_subcommand(
      "replicas",
      "List the servers that renew their lease in the database, with what each has applied, what its clients have "
      "acknowledged and which feature levels it reads, and exit. One whose beat does not rise from call to call is "
      "dead or cut off.");
  AddDatabaseFlag(command, options->database_url_file);
  RunWhenParsed(command, run, options, RunReplicas);
}

void AddKeyringCommand(CLI::App& app, Run& run) {
  const auto options = std::make_shared<KeyringInitOptions>();
  CLI::App& keyring = *app.add_subcommand("keyring", "Make the key ring.");
  keyring.require_subcommand(1);
  CLI::App& command = *keyring.add_subcommand("init", "Write a new key ring, and exit.");
  AddKeyringFlag(command, options->keyring_file, "--keyring,--out");
  RunWhenParsed(command, run, options, RunKeyringInit);
}

void AddVersionCommand(CLI::App& app, Run& run) {
  app.add_subcommand("version", "Print the version, and exit.")->callback([&run] { run = RunVersion; });
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

  Run run;
  AddServeCommand(app, run);
  AddDevCommand(app, run);
  AddMigrateCommand(app, run);
  AddBootstrapCommand(app, run);
  AddAcceptHistoryCommand(app, run);
  AddSetBoundCommand(app, run);
  AddUpgradeCommand(app, run);
  AddReplicasCommand(app, run);
  AddKeyringCommand(app, run);
  AddVersionCommand(app, run);

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);  // --help.
    // A word nobody knows is the likelier mistake than the flag or subcommand that is then missing.
    const std::vector<std::string> unknown = app.remaining(/*recurse=*/true);
    const std::string what = unknown.empty() ? std::string(error.what()) : "unknown argument " + unknown.front();
    return Report({kExitUsage, core::Redacted(what) + " (see latchkeyd --help)"});
  }
  return run ? run() : kExitUsage;
}

}  // namespace latchkey::app
