#include "server/keys/replication/watch_hub.h"

#include <algorithm>
#include <utility>

#include "server/base/errors.h"

namespace latchkey::keys {
namespace {

Invalidation InvalidationOf(const core::RevisionToken& revision, const Change& change) {
  Invalidation row{.revision = revision, .kind = Invalidation::Kind::kKey, .organization = "", .id = ""};
  if (change.key) {
    row.organization = change.key->organization;
    row.id = change.key->kid;
  } else if (change.role) {
    row.kind = Invalidation::Kind::kRole;
    row.organization = change.role->organization;
    row.id = change.role->id;
  } else if (change.organization) {
    row.kind = Invalidation::Kind::kOrganization;
    row.organization = change.organization->id;
  }
  return row;
}

}  // namespace

// --- Stream ---

WatchHub::Stream::Stream(WatchHub& hub, std::vector<std::string> organizations, int64_t acknowledged,
                         std::function<void()> wake)
    : hub_(hub), organizations_(std::move(organizations)), wake_(std::move(wake)), acknowledged_(acknowledged) {}

WatchHub::Stream::~Stream() { hub_.Forget(this); }

bool WatchHub::Stream::Wants(const Invalidation& row) const {
  if (row.organization.empty()) return false;
  return organizations_.empty() || std::binary_search(organizations_.begin(), organizations_.end(), row.organization);
}

bool WatchHub::Stream::Push(const Row& row, bool& wake) {
  const std::lock_guard lock(mutex_);
  wake = !std::exchange(woken_, true);
  if (queue_.size() >= hub_.options_.queue) return false;
  queue_.push_back(row);
  return true;
}

void WatchHub::Stream::End(const absl::Status& why) {
  const std::lock_guard lock(mutex_);
  ended_ = why;
  queue_ = {};
}

std::vector<Invalidation> WatchHub::Stream::Take(size_t limit) {
  std::vector<Row> rows;
  {
    const std::lock_guard lock(mutex_);
    woken_ = false;
    const auto end = queue_.begin() + static_cast<std::ptrdiff_t>(std::min(limit, queue_.size()));
    rows.assign(queue_.begin(), end);
    queue_.erase(queue_.begin(), end);
  }
  std::vector<Invalidation> taken;
  taken.reserve(rows.size());
  for (const Row& row : rows) taken.push_back(*row);
  return taken;
}

absl::Status WatchHub::Stream::ended() const {
  const std::lock_guard lock(mutex_);
  return ended_;
}

void WatchHub::Stream::Acknowledge(int64_t revision) {
  const std::lock_guard lock(mutex_);
  acknowledged_ = std::max(acknowledged_, revision);
}

bool WatchHub::Stream::Grant(base::BootTime until) {
  const std::lock_guard lock(mutex_);
  if (!ended_.ok()) return false;
  granted_ = std::max(granted_, until);
  return true;
}

// --- Hub ---

WatchHub::WatchHub(Options options) : options_(options) {}
WatchHub::~WatchHub() = default;

std::optional<size_t> WatchHub::FindLocked(const core::RevisionToken& position) const {
  if (history_.empty()) return std::nullopt;
  const int64_t at = position.revision - history_.front()->revision.revision;
  if (at < 0 || at >= static_cast<int64_t>(history_.size())) return std::nullopt;
  if (history_[static_cast<size_t>(at)]->revision != position) return std::nullopt;
  return static_cast<size_t>(at);
}

absl::StatusOr<WatchHub::Subscription> WatchHub::Subscribe(std::vector<std::string> organizations,
                                                           core::RevisionToken resume, std::function<void()> wake) {
  std::sort(organizations.begin(), organizations.end());
  Subscription subscription;
  const std::lock_guard lock(mutex_);
  if (!started_) return errors::WatchEnded("this server has no view of the log yet");
  const core::RevisionToken& at = history_.back()->revision;
  // What a client that can't be resumed still believes is not known before its first Ping.
  const int64_t acknowledged = resume.revision > 0 ? 0 : at.revision;
  subscription.stream.reset(new Stream(*this, std::move(organizations), acknowledged, std::move(wake)));
  subscription.from = at;
  Stream& stream = *subscription.stream;
  if (const std::optional<size_t> known = resume.revision > 0 ? FindLocked(resume) : std::nullopt) {
    std::deque<Stream::Row> missed;
    for (size_t i = *known + 1; i < history_.size() && missed.size() <= options_.queue; ++i) {
      if (stream.Wants(*history_[i])) missed.push_back(history_[i]);
    }
    if (missed.size() <= options_.queue) {
      subscription.resumed = true;
      subscription.from = resume;
      const std::lock_guard stream_lock(stream.mutex_);
      stream.queue_ = std::move(missed);
      stream.acknowledged_ = resume.revision;
    }
  }
  subscribers_.push_back({&stream, subscription.stream});
  return subscription;
}

void WatchHub::Forget(Stream* stream) {
  const std::lock_guard lock(mutex_);
  const size_t gone =
      std::erase_if(subscribers_, [stream](const Subscriber& subscriber) { return subscriber.stream == stream; });
  if (gone > 0) NoteDepartedLocked(*stream);  // Else it was noted when it ended.
}

void WatchHub::NoteDepartedLocked(const Stream& stream) {
  const std::lock_guard stream_lock(stream.mutex_);
  if (stream.granted_ != base::BootTime::Never()) departed_.push_back({stream.acknowledged_, stream.granted_});
}

WatchHub::Streams WatchHub::EndAllLocked(const std::string& why) {
  Streams ended;
  for (const Subscriber& subscriber : subscribers_) {
    subscriber.stream->End(errors::WatchEnded(why));
    NoteDepartedLocked(*subscriber.stream);
    if (std::shared_ptr<Stream> stream = subscriber.owner.lock()) ended.push_back(std::move(stream));
  }
  subscribers_.clear();
  started_ = false;
  return ended;
}

WatchHub::Streams WatchHub::PublishLocked(const Stream::Row& row) {
  history_.push_back(row);
  // One more than a stream may resume over: the row where it resumes.
  while (history_.size() > options_.history + 1) history_.pop_front();
  Streams woken;
  std::erase_if(subscribers_, [&](const Subscriber& subscriber) {
    if (!subscriber.stream->Wants(*row)) return false;
    bool wake = false;
    const bool queued = subscriber.stream->Push(row, wake);
    if (!queued) {
      subscriber.stream->End(errors::WatchEnded("it could not keep up with the changes"));
      NoteDepartedLocked(*subscriber.stream);
    }
    if (wake || !queued) {
      if (std::shared_ptr<Stream> stream = subscriber.owner.lock()) woken.push_back(std::move(stream));
    }
    return !queued;
  });
  return woken;
}

void WatchHub::WakeAll(const Streams& streams) {
  for (const std::shared_ptr<Stream>& stream : streams) {
    if (stream->wake_) stream->wake_();
  }
}

void WatchHub::Start(const LogPosition& position) {
  const core::RevisionToken at = core::RevisionToken::Of(position.rev, position.chain);
  Streams ended;  // Before the lock, so that it is let go of after: a Stream's destructor takes the lock.
  {
    const std::lock_guard lock(mutex_);
    if (history_.empty() || history_.back()->revision != at) {
      ended = EndAllLocked("this server loaded its view anew");
      history_.clear();
      history_.push_back(std::make_shared<const Invalidation>(InvalidationOf(at, Change())));
    }
    started_ = true;
  }
  WakeAll(ended);
}

void WatchHub::Publish(const LogPosition& position, const Change& change) {
  const auto row = std::make_shared<const Invalidation>(
      InvalidationOf(core::RevisionToken::Of(position.rev, position.chain), change));
  Streams woken;
  {
    const std::lock_guard lock(mutex_);
    if (!started_) return;
    if (row->revision.revision != history_.back()->revision.revision + 1) {
      woken = EndAllLocked("this server missed changes");
    } else {
      woken = PublishLocked(row);
    }
  }
  WakeAll(woken);
}

void WatchHub::EndAll(const std::string& why) {
  Streams ended;
  {
    const std::lock_guard lock(mutex_);
    ended = EndAllLocked(why);
    // In another history their revisions mean nothing: they have acknowledged none of it.
    for (Departed& client : departed_) client.acknowledged = 0;
  }
  WakeAll(ended);
}

int64_t WatchHub::AcknowledgedBy(int64_t applied, base::BootTime now) {
  const std::lock_guard lock(mutex_);
  int64_t oldest = applied;
  std::erase_if(departed_, [now](const Departed& client) { return now >= client.until; });
  for (const Departed& client : departed_) oldest = std::min(oldest, client.acknowledged);
  for (const Subscriber& subscriber : subscribers_) {
    const std::lock_guard stream_lock(subscriber.stream->mutex_);
    oldest = std::min(oldest, subscriber.stream->acknowledged_);
  }
  return oldest;
}

core::RevisionToken WatchHub::position() const {
  const std::lock_guard lock(mutex_);
  return started_ ? history_.back()->revision : core::RevisionToken();
}

size_t WatchHub::stream_count() const {
  const std::lock_guard lock(mutex_);
  return subscribers_.size();
}

}  // namespace latchkey::keys
