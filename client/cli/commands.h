#pragma once

#include "CLI/CLI.hpp"
#include "client/cli/session.h"

namespace latchkey::cli {

// The commands of the command line: each function adds some to `app`. A command that is chosen leaves its exit code in
// `exit_code`; `options` is read only then, when the whole command line has been parsed. Both outlive `app`'s parsing.
void AddKeyCommands(CLI::App& app, const GlobalOptions& options, int& exit_code);
// `keys create`, below `keys`.
void AddCreateKeyCommand(CLI::App& keys, const GlobalOptions& options, int& exit_code);
void AddRoleCommands(CLI::App& app, const GlobalOptions& options, int& exit_code);
void AddOrganizationCommands(CLI::App& app, const GlobalOptions& options, int& exit_code);
// `verify` has exit codes of its own: 0 allowed, 1 denied, 2 could not decide.
void AddVerifyCommand(CLI::App& app, const GlobalOptions& options, int& exit_code);

}  // namespace latchkey::cli
