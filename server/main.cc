#include "absl/synchronization/mutex.h"
#include "server/app/command_line.h"

int main(int argc, char** argv) {
  // Debian's Abseil is built to look for lock cycles at every lock, and to abort where it thinks it sees one.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  return latchkey::app::RunCommandLine(argc, argv);
}
