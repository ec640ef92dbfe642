#pragma once

#include <sys/types.h>

#include <atomic>
#include <latch>
#include <memory>
#include <vector>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "tests/bench/load.h"
#include "tests/bench/process.h"

namespace latchkey::bench {

enum class Phase { kWarmUp, kMeasured, kOver };

// Lets loops that have been started run: `warm_up` unmeasured, `length` measured, and until each has counted `over`
// down. A loop is a pointer to something with `latency`, `failures`, `refused` and `first_failure`; it counts a latency
// in Phase::kMeasured and ends in Phase::kOver. `server` is the process whose CPU time is charged.
template <typename Loop>
Measurement MeasureLoops(const std::vector<std::unique_ptr<Loop>>& loops, std::atomic<Phase>& phase, std::latch& over,
                         absl::Duration warm_up, absl::Duration length, pid_t server) {
  absl::SleepFor(warm_up);
  Measurement result;
  const double cpu_before = CpuSecondsOf(server);
  const int64_t began = NowNanoseconds();
  phase = Phase::kMeasured;
  absl::SleepFor(length);
  phase = Phase::kOver;
  result.seconds = static_cast<double>(NowNanoseconds() - began) / 1e9;
  result.server_cpu_seconds = CpuSecondsOf(server) - cpu_before;
  over.wait();
  for (const auto& loop : loops) {
    result.latency.Add(loop->latency);
    result.failures += loop->failures;
    result.refused += loop->refused;
    if (result.first_failure.empty()) result.first_failure = loop->first_failure;
  }
  return result;
}

}  // namespace latchkey::bench
