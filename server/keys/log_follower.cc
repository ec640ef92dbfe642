#include "server/keys/log_follower.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/base/errors.h"
#include "server/keys/change_codec.h"

namespace latchkey::keys {

LogFollower::LogFollower(storage::KeyStore& store, KeyIndex& index, const base::Clock& clock, Options options)
    : store_(store), index_(index), clock_(clock), options_(options) {}

absl::Duration LogFollower::poll_interval() const { return std::min(absl::Seconds(1), options_.bound / 5); }

bool LogFollower::loaded() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return loaded_;
}

void LogFollower::OnHistoryRewritten(std::function<void(const std::string&)> alarm) {
  const std::lock_guard<std::mutex> lock(mutex_);
  alarm_ = std::move(alarm);
}

absl::Status LogFollower::Poll() {
  const std::lock_guard<std::mutex> lock(mutex_);
  return loaded_ ? PollLocked() : LoadLocked();
}

absl::Status LogFollower::LoadLocked() {
  const base::BootTime sent_at = clock_.BootNow();
  absl::StatusOr<storage::Snapshot> snapshot = store_.LoadSnapshot();
  if (!snapshot.ok()) return snapshot.status();
  const LogPosition position = snapshot->position;
  index_.Replace(position, std::move(snapshot->organizations), std::move(snapshot->roles), snapshot->keys);
  loaded_ = true;
  if (position.rev >= must_pass_) index_.Extend(sent_at + options_.bound, snapshot->now, sent_at);
  return absl::OkStatus();
}

absl::Status LogFollower::PollLocked() {
  while (true) {
    const LogPosition cursor = index_.position();
    // The lease counts from before the question was sent: whatever the answer's delay, it can't be older than this.
    const base::BootTime sent_at = clock_.BootNow();
    const absl::StatusOr<storage::LogPage> page = store_.ReadLog(cursor.rev, options_.page);
    if (!page.ok()) return page.status();
    if (page->rows.empty() || page->rows.front().rev != cursor.rev || page->rows.front().chain != cursor.chain) {
      RewrittenLocked(absl::StrCat("the change log no longer has revision ", cursor.rev, " as it was followed"));
      return LoadLocked();
    }
    for (size_t i = 1; i < page->rows.size(); ++i) {
      const absl::Status applied = ApplyLocked(page->rows[i]);
      if (!applied.ok()) return applied;
    }
    if (index_.position().rev == page->head) {
      // Only the page that reached the head of its own snapshot says that nothing older is missing.
      if (page->head >= must_pass_) index_.Extend(sent_at + options_.bound, page->now, sent_at);
      return absl::OkStatus();
    }
    if (page->rows.size() < 2) {
      index_.EndLease();
      return errors::Internal(absl::StrCat("the change log ends at ", cursor.rev, " below its head ", page->head));
    }
  }
}

absl::Status LogFollower::ApplyLocked(const LogRow& row) {
  const LogPosition at = index_.position();
  if (row.rev != at.rev + 1 || ChainOf(at.chain, row.rev, row.at, row.body) != row.chain) {
    index_.EndLease();
    return errors::Internal(absl::StrCat("change-log row ", row.rev, " does not continue the chain at ", at.rev));
  }
  const absl::StatusOr<Change> change = DecodeBody(row);
  if (!change.ok()) {
    index_.EndLease();
    return change.status();
  }
  index_.Apply(LogPosition{row.rev, row.chain}, *change);
  return absl::OkStatus();
}

void LogFollower::Deliver(const std::vector<LogRow>& rows) {
  if (rows.empty()) return;
  const std::lock_guard<std::mutex> lock(mutex_);
  if (!loaded_) return;  // The snapshot will have them.
  const int64_t last = rows.back().rev;
  for (const LogRow& row : rows) {
    const int64_t rev = index_.position().rev;
    if (row.rev <= rev) continue;
    if (row.rev != rev + 1) break;  // Others wrote between: the log has their rows.
    if (!ApplyLocked(row).ok()) break;
  }
  if (index_.position().rev >= last) return;
  if (PollLocked().ok() && index_.position().rev >= last) return;
  must_pass_ = std::max(must_pass_, last);
  index_.EndLease();
}

void LogFollower::RewrittenLocked(const std::string& what) {
  index_.EndLease();
  loaded_ = false;
  must_pass_ = 0;  // Revisions of the other history mean nothing in this one.
  if (alarm_) alarm_(what);
}

}  // namespace latchkey::keys
