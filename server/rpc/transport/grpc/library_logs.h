#pragma once

#include <string>
#include <string_view>

namespace latchkey::rpc {

// Lets the log lines of gRPC and protobuf go through our log: at most a few a second, and without what comes from peers
// (gRPC writes header values into them in full). Once in a process, before the first server; idempotent.
void InstallLibraryLogs();

// The part of such a line before the first thing that may be a value. `text`: "Failed accept4: too many files".
std::string WithoutValues(std::string_view text);

// While true, what gRPC complains about is told by others: its lines are only for debugging.
void QuietenLibraryLogs(bool quiet);

}  // namespace latchkey::rpc
