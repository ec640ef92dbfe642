#pragma once

#include <cstddef>

#include "absl/time/time.h"

namespace latchkey::app {

// Blocks TERM, INT and HUP in this thread and in all it starts, so that only WaitForStop sees them. Ignores PIPE.
void BlockStopSignals();

// True once one of them has arrived; false after `patience` without one.
bool WaitForStop(absl::Duration patience);

// What every latchkeyd does first: no core file and no debugger may read the secrets (PR_SET_DUMPABLE 0, RLIMIT_CORE
// 0), and GRPC_TRACE is unset, as it would print bearer keys.
void HardenProcess();

// Raises the soft limit of open descriptors to the hard one. Returns what it is now.
size_t RaiseDescriptorLimit();

}  // namespace latchkey::app
