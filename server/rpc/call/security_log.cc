#include "server/rpc/call/security_log.h"

#include <algorithm>
#include <utility>

#include "absl/time/time.h"

namespace latchkey::rpc {
namespace {

constexpr double kLinesPerSecondOfOne = 1;
constexpr int kBurstOfOne = 5;
constexpr size_t kMaxNames = 1024;  // Beyond it those that had a line longest ago have a burst again.
constexpr char kOthers[] = "others";
constexpr absl::Duration kSummaryEvery = absl::Minutes(1);

}  // namespace

SecurityLog::SecurityLog(const base::Clock& clock, int per_second)
    : clock_(clock),
      lines_(per_second, per_second),
      peers_{{kLinesPerSecondOfOne, kBurstOfOne, kMaxNames}, {}},
      keys_{{kLinesPerSecondOfOne, kBurstOfOne, kMaxNames}, {}},
      summarized_at_(clock.BootNow()) {}

bool SecurityLog::Lines::Take(const std::string& name, base::BootTime now) {
  if (name.empty() || limiter.TakeOrWait(name, now) <= absl::ZeroDuration()) return true;
  ++left_out[left_out.size() < kMaxNames || left_out.contains(name) ? name : kOthers];
  return false;
}

bool SecurityLog::Denied(log::Fields fields, const std::string& peer, const std::string& key) {
  const base::BootTime now = clock_.BootNow();
  int64_t left_out = 0;
  {
    const std::lock_guard lock(mutex_);
    // Both are asked, so that both count.
    const bool peer_may = peers_.Take(peer, now);
    const bool key_may = keys_.Take(key, now);
    if (!peer_may || !key_may || !lines_.Take(now).has_value()) {
      ++left_out_;
      ++left_out_summary_;
      return false;
    }
    left_out = std::exchange(left_out_, 0);
  }
  if (left_out > 0) fields.emplace_back("left_out_before", left_out);
  log::Info("call denied", fields);
  return true;
}

void SecurityLog::Lines::AddMost(const char* name, const char* count, log::Fields& fields) {
  const auto most = std::max_element(left_out.begin(), left_out.end(),
                                     [](const auto& one, const auto& other) { return one.second < other.second; });
  if (most == left_out.end()) return;
  fields.emplace_back(name, most->first);
  fields.emplace_back(count, most->second);
  left_out.clear();
}

bool SecurityLog::Summarize() {
  log::Fields fields;
  {
    const std::lock_guard lock(mutex_);
    const base::BootTime now = clock_.BootNow();
    if (now - summarized_at_ < kSummaryEvery) return false;
    summarized_at_ = now;
    const int64_t left_out = std::exchange(left_out_summary_, 0);
    if (left_out == 0) return false;
    fields.emplace_back("left_out", left_out);
    peers_.AddMost("most_by_peer", "of_peer", fields);
    keys_.AddMost("most_by_key", "of_key", fields);
  }
  log::Info("calls denied in the last minute that have no line", fields);
  return true;
}

}  // namespace latchkey::rpc
