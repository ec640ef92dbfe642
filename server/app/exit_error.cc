#include "server/app/exit_error.h"

#include <algorithm>
#include <cstdio>

namespace latchkey::app {

int Report(const ExitError& error) {
  std::string line = error.line;
  std::replace(line.begin(), line.end(), '\n', ' ');
  std::fprintf(stderr, "latchkeyd: %s\n", line.c_str());
  return error.code;
}

int ExitCodeOf(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kOk:
      return kExitOk;
    case absl::StatusCode::kInvalidArgument:
      return kExitUsage;
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kDeadlineExceeded:
      return kExitUnavailable;
    case absl::StatusCode::kFailedPrecondition:
      return kExitConfig;
    case absl::StatusCode::kPermissionDenied:
      return kExitCantCreate;
    default:
      return kExitSoftware;
  }
}

}  // namespace latchkey::app
