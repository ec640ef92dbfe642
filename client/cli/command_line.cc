#include "client/cli/command_line.h"

#include <cstdio>
#include <string>

#include "absl/strings/str_cat.h"
#include "client/cli/arguments.h"
#include "client/cli/commands.h"
#include "client/cli/output.h"
#include "client/core/redaction.h"
#include "client/core/text.h"

namespace latchkey::cli {
namespace {

constexpr char kFooter[] =
    R"(Environment:
  LATCHKEY_SERVER    what --server is if it is not given
  LATCHKEY_KEY_FILE  what --credentials is if it is not given

Exit status:
  0  done; for `verify`: the key is allowed
  1  the server refused; for `verify`: the key is denied
  2  a mistake on the command line, unusable credentials, or no answer;
     for `verify`: could not decide, for whatever reason

Examples:
  export LATCHKEY_KEY_FILE=/etc/latchkey/acme.key
  latchkey keys create --organization acme --name "Nightly export" --role viewer
  latchkey keys list --organization acme
  latchkey verify --permission app.read < incoming.key

`latchkey COMMAND --help` tells more.)";

void AddGlobalOptions(CLI::App& app, GlobalOptions& options) {
  app.add_option("--server", options.server, "Where Latchkey listens, a gRPC target: HOST:PORT, unix:/PATH")
      ->envname("LATCHKEY_SERVER")
      ->type_name("TARGET")
      ->capture_default_str();
  app.add_option("--credentials", options.credentials,
                 "The file with the key string to call with: nothing else in it, mode 600")
      ->envname("LATCHKEY_KEY_FILE")
      ->type_name("FILE");
  app.add_option("--output", options.output, "table for people, json (protojson) for scripts")
      ->check(CLI::IsMember({"table", "json"}))
      ->type_name("FORMAT")
      ->capture_default_str();
  app.add_option("--timeout", options.timeout, "How long one call may take, at most 60s")
      ->type_name("DURATION")
      ->capture_default_str();
}

// CLI11 shows global options at the top only.
void PointToGlobalOptions(CLI::App& command) {
  const std::string examples = command.get_footer();
  command.footer("Every command also takes --server, --credentials, --output and --timeout: see latchkey --help." +
                 (examples.empty() ? "" : "\n\n" + examples));
  for (CLI::App* below : command.get_subcommands([](CLI::App*) { return true; })) PointToGlobalOptions(*below);
}

}  // namespace

int RunCommandLine(int argc, const char* const* argv) {
  GlobalOptions options;
  int exit_code = kTrouble;
  CLI::App app("Issues, lists, renames, revokes and verifies API keys of a Latchkey service.", "latchkey");
  app.get_formatter()->column_width(34);
  app.set_version_flag("--version", "latchkey " LATCHKEY_VERSION);
  app.require_subcommand(1);
  // Global options may also stand behind the command.
  app.fallthrough();
  app.footer(kFooter);
  AddGlobalOptions(app, options);
  AddKeyCommands(app, options, exit_code);
  AddVerifyCommand(app, options, exit_code);
  AddRoleCommands(app, options, exit_code);
  AddOrganizationCommands(app, options, exit_code);

  for (CLI::App* command : app.get_subcommands([](CLI::App*) { return true; })) PointToGlobalOptions(*command);

  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& wanted) {
    return app.exit(wanted);
  } catch (const CLI::ParseError& mistake) {
    // CLI11 quotes what it did not understand, which may be a key string in the wrong place.
    std::fputs(
        absl::StrCat("latchkey: ", core::Printable(core::Redacted(mistake.what())), " (see latchkey --help)\n").c_str(),
        stderr);
    return kTrouble;
  }
  return exit_code;
}

}  // namespace latchkey::cli
