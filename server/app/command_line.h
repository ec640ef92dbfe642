#pragma once

namespace latchkey::app {

// latchkeyd's command line: flags, --config file and LATCHKEYD_… environment variables (never for secrets: those come
// from files). Runs the subcommand and returns the exit code.
int RunCommandLine(int argc, char** argv);

}  // namespace latchkey::app
