#pragma once

#include <CLI/CLI.hpp>

#include "server/app/options.h"

namespace latchkey::app {

// The flags of a server that serves, whichever database it has.
void AddServiceFlags(CLI::App& command, ServiceOptions& options);

}  // namespace latchkey::app
