#pragma once

#include <sys/types.h>

#include <cstdint>

namespace latchkey::bench {

// User and system time of all of a process's threads. To a hundredth of a second.
double CpuSecondsOf(pid_t process);
// What it has in memory now, shared pages included; and the most it ever had.
int64_t ResidentBytesOf(pid_t process);
int64_t PeakResidentBytesOf(pid_t process);
// As many as the machine allows, for this process and the children it starts from now on.
void RaiseDescriptorLimit();

}  // namespace latchkey::bench
