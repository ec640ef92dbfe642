#include <cstdlib>

#include "client/cli/command_line.h"
#include "google/protobuf/stubs/logging.h"

int main(int argc, char** argv) {
  // gRPC's traces print the bearer key.
  unsetenv("GRPC_TRACE");
  unsetenv("GRPC_VERBOSITY");
  // It would write to stderr past what makes text printable.
  google::protobuf::SetLogHandler(nullptr);
  return latchkey::cli::RunCommandLine(argc, argv);
}
