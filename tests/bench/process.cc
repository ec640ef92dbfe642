#include "tests/bench/process.h"

#include <sys/resource.h>
#include <unistd.h>

#include <fstream>
#include <iterator>
#include <sstream>
#include <string>

#include "absl/strings/str_cat.h"

namespace latchkey::bench {
namespace {

// A line of /proc/PID/status in KiB.
int64_t StatusBytes(pid_t process, const std::string& name) {
  std::ifstream file(absl::StrCat("/proc/", process, "/status"));
  std::string line;
  while (std::getline(file, line)) {
    if (line.rfind(name + ":", 0) == 0) return std::stoll(line.substr(name.size() + 1)) * 1024;
  }
  return 0;
}

}  // namespace

double CpuSecondsOf(pid_t process) {
  std::ifstream file(absl::StrCat("/proc/", process, "/stat"));
  std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  // The name, in parentheses, may hold blanks; utime and stime are fields 14 and 15, the 12th and 13th after it.
  std::istringstream fields(text.substr(text.rfind(')') + 1));
  std::string skipped;
  for (int i = 0; i < 11; ++i) fields >> skipped;
  double user = 0, system = 0;
  fields >> user >> system;
  return (user + system) / static_cast<double>(sysconf(_SC_CLK_TCK));
}

int64_t ResidentBytesOf(pid_t process) { return StatusBytes(process, "VmRSS"); }
int64_t PeakResidentBytesOf(pid_t process) { return StatusBytes(process, "VmHWM"); }

void RaiseDescriptorLimit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

}  // namespace latchkey::bench
