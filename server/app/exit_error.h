#pragma once

#include <string>

#include "absl/status/status.h"
#include "server/app/options.h"

namespace latchkey::app {

// A start-up error: the exit code and one clear line for stderr.
struct ExitError {
  int code = kExitOk;
  std::string line;
};

// Prints "latchkeyd: <line>" to stderr, without newlines inside, and returns the code.
int Report(const ExitError& error);

// The code a status means at start-up.
int ExitCodeOf(const absl::Status& status);

}  // namespace latchkey::app
