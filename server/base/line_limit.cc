#include "server/base/line_limit.h"

#include "absl/time/time.h"

namespace latchkey::base {

std::optional<int64_t> LineLimit::Take(BootTime now) {
  if (lines_.TakeOrWait("", now) <= absl::ZeroDuration()) return left_out_.exchange(0);
  ++left_out_;
  return std::nullopt;
}

}  // namespace latchkey::base
