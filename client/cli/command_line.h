#pragma once

namespace latchkey::cli {

// Entry point of the `latchkey` command: parses, runs what was asked, returns the process's exit code (output.h).
int RunCommandLine(int argc, const char* const* argv);

}  // namespace latchkey::cli
