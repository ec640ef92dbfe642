#include <cstdlib>

#include "client/cli/command_line.h"

int main(int argc, char** argv) {
  // gRPC's traces print the bearer key.
  unsetenv("GRPC_TRACE");
  unsetenv("GRPC_VERBOSITY");
  return latchkey::cli::RunCommandLine(argc, argv);
}
