#include "server/keys/replication/watch_hub.h"

#include <algorithm>
#include <limits>
#include <map>
#include <utility>

#include "server/base/errors.h"

namespace latchkey::keys {
namespace {

// What a renewal writes of organizations whose clients are behind; few are at a time.
constexpr size_t kMaxBehind = 256;
// Beyond so many unacknowledged rows it does not matter any more whose they are.
constexpr size_t kMaxOwedByName = 1000;

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

WatchHub::Stream::Stream(WatchHub& hub, std::vector<std::string> organizations, std::function<void()> wake)
    : hub_(hub), organizations_(std::move(organizations)), wake_(std::move(wake)) {}

WatchHub::Stream::~Stream() { hub_.Forget(this); }

bool WatchHub::Stream::Wants(const Invalidation& row) const {
  if (row.organization.empty()) return false;
  return organizations_.empty() || std::binary_search(organizations_.begin(), organizations_.end(), row.organization);
}

bool WatchHub::Stream::Push(const Row& row, bool& wake) {
  const std::lock_guard lock(mutex_);
  wake = !std::exchange(woken_, true);
  // Every row that waits to be written is owed too.
  if (owed_.size() >= hub_.options_.queue) return false;
  queue_.push_back(row);
  owed_.push_back(row);
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
  // Of before the stream began: it is about what the client believed then.
  if (applied_.has_value() && revision < starts_at_) return;
  applied_.reset();
  while (!owed_.empty() && owed_.front()->revision.revision <= revision) owed_.pop_front();
}

int64_t WatchHub::Stream::AppliedLocked(int64_t position) const {
  if (applied_.has_value()) return *applied_;
  return owed_.empty() ? position : owed_.front()->revision.revision - 1;
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

bool WatchHub::KnowsLocked(const core::RevisionToken& position) const {
  if (history_.empty()) return false;
  const int64_t at = position.revision - history_.oldest()->revision.revision;
  return at >= 0 && at < static_cast<int64_t>(history_.size()) &&
         history_.at(static_cast<size_t>(at))->revision == position;
}

std::optional<std::vector<InvalidationLog::View>> WatchHub::MissedLocked(const std::vector<std::string>& organizations,
                                                                         int64_t revision) const {
  std::vector<const InvalidationLog*> logs;
  if (organizations.empty()) logs.push_back(&history_);
  for (const std::string& organization : organizations) {
    if (const auto found = history_of_.find(organization); found != history_of_.end()) logs.push_back(&found->second);
  }
  size_t count = 0;
  for (const InvalidationLog* const log : logs) count += log->CountAfter(revision);
  if (count > options_.queue) return std::nullopt;
  std::vector<InvalidationLog::View> views;
  for (const InvalidationLog* const log : logs) views.push_back(log->After(revision));
  return views;
}

absl::StatusOr<WatchHub::Subscription> WatchHub::Subscribe(std::vector<std::string> organizations,
                                                           core::RevisionToken resume, std::function<void()> wake) {
  std::sort(organizations.begin(), organizations.end());
  organizations.erase(std::unique(organizations.begin(), organizations.end()), organizations.end());
  Subscription subscription;
  std::optional<std::vector<InvalidationLog::View>> views;
  {
    const std::lock_guard lock(mutex_);
    if (!started_) return errors::WatchEnded("this server has no view of the log yet");
    subscription.from = history_.newest()->revision;
    if (resume.revision > 0 && KnowsLocked(resume)) views = MissedLocked(organizations, resume.revision);
    if (views.has_value()) {
      subscription.resumed = true;
      subscription.from = resume;
    }
    subscription.stream.reset(new Stream(*this, std::move(organizations), std::move(wake)));
    Stream& stream = *subscription.stream;
    // What a client that can't be resumed still believes is not known before its first Ping.
    if (resume.revision > 0) stream.applied_ = subscription.resumed ? resume.revision : 0;
    stream.starts_at_ = subscription.from.revision;
    subscribers_.push_back({&stream, subscription.stream});
  }
  if (!views.has_value()) return subscription;
  // Without the hub's lock: thousands of rows are copied. What is published meanwhile is behind them in the queue.
  Stream& stream = *subscription.stream;
  std::vector<Stream::Row> missed;
  for (const InvalidationLog::View& view : *views) {
    for (size_t i = 0; i < view.size(); ++i) {
      if (stream.Wants(*view.at(i))) missed.push_back(view.at(i));
    }
  }
  std::sort(missed.begin(), missed.end(),
            [](const Stream::Row& a, const Stream::Row& b) { return a->revision.revision < b->revision.revision; });
  const std::lock_guard stream_lock(stream.mutex_);
  stream.applied_.reset();
  if (!stream.ended_.ok()) return subscription;
  stream.queue_.insert(stream.queue_.begin(), missed.begin(), missed.end());
  stream.owed_.insert(stream.owed_.begin(), missed.begin(), missed.end());
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
  if (stream.granted_ == base::BootTime::Never()) return;
  const int64_t position = history_.empty() ? 0 : history_.newest()->revision.revision;
  departed_.push_back({stream.organizations_, stream.AppliedLocked(position), stream.granted_});
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
  history_.Append(row);
  if (!row->organization.empty()) history_of_[row->organization].Append(row);
  // One more than a stream may resume over: the row where it resumes.
  while (history_.size() > options_.history + 1) DropOldestLocked();
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

void WatchHub::DropOldestLocked() {
  if (const std::string& organization = history_.oldest()->organization; !organization.empty()) {
    const auto found = history_of_.find(organization);
    found->second.DropOldest();
    if (found->second.empty()) history_of_.erase(found);
  }
  history_.DropOldest();
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
    if (history_.empty() || history_.newest()->revision != at) {
      ended = EndAllLocked("this server loaded its view anew");
      history_ = InvalidationLog();
      history_of_.clear();
      history_.Append(std::make_shared<const Invalidation>(InvalidationOf(at, Change())));
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
    if (row->revision.revision != history_.newest()->revision.revision + 1) {
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
    history_ = InvalidationLog();
    history_of_.clear();
    // In another history their revisions mean nothing: they have acknowledged none of it.
    for (Departed& client : departed_) client.acknowledged = 0;
  }
  WakeAll(ended);
}

// The least of what clients have acknowledged, as it is collected from one after another.
class WatchHub::AcknowledgedSoFar {
 public:
  explicit AcknowledgedSoFar(int64_t applied) : others_(applied) {}

  // A client has applied no more than this of its organizations' changes; empty = all.
  void Lower(const std::vector<std::string>& organizations, int64_t applied) {
    if (organizations.empty()) LowerAll(applied);
    for (const std::string& organization : organizations) Lower(organization, applied);
  }
  void LowerAll(int64_t applied) { others_ = std::min(others_, applied); }
  void Lower(const std::string& organization, int64_t applied) {
    const auto [place, is_new] = behind_.try_emplace(organization, applied);
    if (!is_new) place->second = std::min(place->second, applied);
  }
  storage::Acknowledgements Result() const {
    storage::Acknowledgements result{.others = others_, .behind = {}};
    for (const auto& [organization, applied] : behind_) {
      if (applied < others_) result.behind.emplace_back(organization, applied);
    }
    // Many organizations at once are as one.
    if (result.behind.size() > kMaxBehind) result = {.others = result.oldest(), .behind = {}};
    return result;
  }

 private:
  int64_t others_;
  std::map<std::string, int64_t> behind_;
};

storage::Acknowledgements WatchHub::AcknowledgedBy(int64_t applied, base::BootTime now) {
  const std::lock_guard lock(mutex_);
  AcknowledgedSoFar so_far(applied);
  constexpr int64_t kNothingOwed = std::numeric_limits<int64_t>::max();
  int64_t first_owed = kNothingOwed;  // Of all streams that want every organization.
  std::erase_if(departed_, [now](const Departed& client) { return now >= client.until; });
  for (const Departed& client : departed_) so_far.Lower(client.organizations, client.acknowledged);
  for (const Subscriber& subscriber : subscribers_) {
    const Stream& stream = *subscriber.stream;
    const std::lock_guard stream_lock(stream.mutex_);
    if (!stream.applied_.has_value() && stream.owed_.empty()) continue;
    // What is owed to a stream of a few organizations is taken as owed to each of them.
    if (stream.applied_.has_value() || !stream.organizations_.empty()) {
      so_far.Lower(stream.organizations_, stream.AppliedLocked(applied));
    } else {
      first_owed = std::min(first_owed, stream.owed_.front()->revision.revision);
    }
  }
  if (first_owed == kNothingOwed) return so_far.Result();
  // One that wants all is owed every row from its first on, so the rows from the first of all of them are looked at
  // once, however many streams there are.
  const size_t count = history_.CountAfter(first_owed - 1);
  if (count > kMaxOwedByName || history_.empty() || history_.oldest()->revision.revision > first_owed) {
    so_far.LowerAll(first_owed - 1);
    return so_far.Result();
  }
  for (size_t i = history_.size() - count; i < history_.size(); ++i) {
    const Invalidation& row = *history_.at(i);
    if (!row.organization.empty()) so_far.Lower(row.organization, row.revision.revision - 1);
  }
  return so_far.Result();
}

core::RevisionToken WatchHub::position() const {
  const std::lock_guard lock(mutex_);
  return started_ ? history_.newest()->revision : core::RevisionToken();
}

size_t WatchHub::stream_count() const {
  const std::lock_guard lock(mutex_);
  return subscribers_.size();
}

}  // namespace latchkey::keys
