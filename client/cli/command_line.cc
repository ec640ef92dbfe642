#include "client/cli/command_line.h"

#include <cstdio>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/cli/arguments.h"
#include "client/cli/commands.h"
#include "client/cli/output.h"
#include "client/core/redaction.h"
#include "client/core/text.h"

namespace latchkey::cli {
namespace {

constexpr char kVersion[] = "latchkey " LATCHKEY_VERSION;

constexpr char kFooter[] =
    R"(Environment:
  LATCHKEY_SERVER    what --server is if it is not given
  LATCHKEY_KEY_FILE  what --credentials is if it is not given

Exit status:
  0  done; for `verify`: the key is allowed
  1  the server refused the request; for `verify`: the key is denied
  2  a mistake on the command line, credentials that are not accepted, no
     answer, or a server that is overloaded or failing;
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

// The server, too, would refuse other text, but protobuf complains on stderr before it is asked. Paths may be any
// bytes.
void RequireUtf8(CLI::App& command) {
  const CLI::Validator valid(
      [](const std::string& text) { return std::string(core::CodePoints(text) ? "" : "valid UTF-8 is wanted"); }, "");
  for (CLI::Option* option : command.get_options()) {
    if (option->get_expected_max() > 0 && option->get_type_name() != "FILE") option->check(valid);
  }
  for (CLI::App* below : command.get_subcommands([](CLI::App*) { return true; })) RequireUtf8(*below);
}

// What names the first word that no command took; empty if there is none.
std::string UnknownWord(const CLI::App& app) {
  std::vector<std::string> words = app.remaining(/*recurse=*/true);
  std::erase(words, "--");
  if (words.empty()) return "";
  const CLI::App* command = &app;
  std::string path = app.get_name();
  while (!command->get_subcommands().empty()) {
    command = command->get_subcommands().front();
    absl::StrAppend(&path, " ", command->get_name());
  }
  const std::string& word = words.front();
  if (word.starts_with("-")) return absl::StrCat("`", path, "` has no option ", word);
  if (!command->get_subcommands([](const CLI::App*) { return true; }).empty()) {
    return absl::StrCat("`", path, "` has no command ", word);
  }
  return absl::StrCat("`", path, "` does not take ", word);
}

// CLI11 first looks for what is missing: without this, `latchkey kyes list` would be told that a command is required.
std::string TextOf(const CLI::ParseError& mistake, const CLI::App& app) {
  const auto kind = static_cast<CLI::ExitCodes>(mistake.get_exit_code());
  if (kind == CLI::ExitCodes::RequiredError || kind == CLI::ExitCodes::ExtrasError) {
    if (const std::string unknown = UnknownWord(app); !unknown.empty()) return unknown;
  }
  return mistake.what();
}

}  // namespace

int RunCommandLine(int argc, const char* const* argv) {
  GlobalOptions options;
  int exit_code = kTrouble;
  CLI::App app("Issues, lists, renames, revokes and verifies API keys of a Latchkey service.", "latchkey");
  app.get_formatter()->column_width(34);
  app.set_version_flag("--version", kVersion);
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
  CLI::App* version = app.add_subcommand("version", "Prints the version.");
  version->footer("");
  version->callback([&exit_code] { exit_code = Print(absl::StrCat(kVersion, "\n")) ? kOk : kTrouble; });
  RequireUtf8(app);

  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& wanted) {
    return app.exit(wanted);
  } catch (const CLI::ParseError& mistake) {
    // CLI11 quotes what it did not understand, which may be a key string in the wrong place.
    std::fputs(
        absl::StrCat("latchkey: ", core::Printable(core::Redacted(TextOf(mistake, app))), " (see latchkey --help)\n")
            .c_str(),
        stderr);
    return kTrouble;
  }
  return exit_code;
}

}  // namespace latchkey::cli
