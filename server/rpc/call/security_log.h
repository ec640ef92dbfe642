#pragma once

#include <cstdint>
#include <mutex>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "server/base/clock.h"
#include "server/base/line_limit.h"
#include "server/base/log.h"
#include "server/base/rate_limiter.h"

namespace latchkey::rpc {

// Denied calls (who could not be authenticated, who lacked a permission): a flood of bad keys must not become a flood
// of lines. At most `per_second` lines a second with bursts as long, and of these at most one a second (bursts of five)
// for each peer and for each key, so that one of them can't hide the others. The next line tells how many were left
// out; Summarize tells of whom. Thread-safe.
class SecurityLog {
 public:
  // `clock` outlives it.
  explicit SecurityLog(const base::Clock& clock, int per_second = 10);

  // True if the line was written. `peer`, `key`: address and hint, not with every call another; "" = not known.
  bool Denied(log::Fields fields, const std::string& peer = "", const std::string& key = "");
  // Each minute that something was left out: one line with how much, and of which peer and key most. To be called
  // about each second. True if there was a line.
  bool Summarize();

 private:
  // Lines of the peers, or of the keys.
  struct Lines {
    base::RateLimiter limiter;
    absl::flat_hash_map<std::string, int64_t> left_out;  // Since the last summary.

    bool Take(const std::string& name, base::BootTime now);
    // Adds the name of which most was left out, and how much; forgets all.
    void AddMost(const char* name, const char* count, log::Fields& fields);
  };

  const base::Clock& clock_;
  base::LineLimit lines_;
  std::mutex mutex_;
  Lines peers_;
  Lines keys_;
  int64_t left_out_ = 0;          // Since the last line.
  int64_t left_out_summary_ = 0;  // Since the last summary.
  base::BootTime summarized_at_;
};

}  // namespace latchkey::rpc
