#pragma once

#include <string>

#include "absl/status/status.h"

namespace latchkey::app {

// OK if a plaintext listener may stand on `address`: HOST:PORT with a loopback host (127.0.0.0/8, ::1 in brackets,
// localhost), or unix:PATH. INVALID_ARGUMENT otherwise, saying what was wanted: key strings would travel in the clear.
absl::Status CheckListenAddress(const std::string& address);

}  // namespace latchkey::app
