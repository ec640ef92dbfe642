#include "client/src/usage_reporter.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <deque>
#include <mutex>
#include <random>
#include <string>
#include <utility>

#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "client/core/clock.h"

namespace latchkey::client {
namespace {

constexpr int kUsesPerMessage = 1'000;  // ReportUsageRequest's limits.
constexpr int64_t kMostOfOneUse = 1'000'000'000;
constexpr size_t kMostWaiting = 100;                            // Messages; some 100 B a use.
constexpr absl::Duration kCallTimeout = absl::Seconds(2);       // Of one report.
constexpr absl::Duration kPatience = absl::Hours(12);           // Servers know a request_id for a day.
constexpr absl::Duration kAfterSwap = absl::Milliseconds(100);  // For counts that began before the tables changed.

std::string RandomUuid() {
  std::random_device random;
  std::array<uint32_t, 4> words{random(), random(), random(), random()};
  char text[37];
  std::snprintf(text, sizeof(text), "%08x-%04x-4%03x-%04x-%04x%08x", words[0], words[1] >> 16, words[1] & 0xfff,
                0x8000 | (words[2] >> 18), words[2] & 0xffff, words[3]);
  return text;
}

// The server will not take it next time either.
bool IsHopeless(const absl::Status& status) {
  return absl::IsInvalidArgument(status) || absl::IsUnimplemented(status) || absl::IsPermissionDenied(status) ||
         absl::IsFailedPrecondition(status);
}

}  // namespace

struct UsageReporter::State : std::enable_shared_from_this<State> {
  struct Message {
    v1::ReportUsageRequest request;
    int64_t uses = 0;
    core::BootTime made_at;
    bool sealed = false;  // A server may know it: it must stay as it is.
  };

  State(EventLoop& on, absl::Duration every, Send how) : loop(on), interval(every), send(std::move(how)) {}

  // All below with the mutex held, or on the loop.
  void Fill(UseTable& table) {
    const int64_t now = absl::ToUnixSeconds(absl::Now());
    const std::lock_guard lock(mutex);
    table.Drain([&](std::string_view kid, int32_t version, core::Decision decision, int64_t count) {
      for (; count > 0; count -= kMostOfOneUse) {
        if (waiting.empty() || waiting.back().sealed || waiting.back().request.usages_size() >= kUsesPerMessage) {
          waiting.emplace_back();
          waiting.back().request.set_request_id(RandomUuid());
          waiting.back().made_at = clock.BootNow();
        }
        v1::ReportUsageRequest::Usage& usage = *waiting.back().request.add_usages();
        usage.set_key_id(std::string(kid));
        usage.set_secret_version(version);
        usage.set_count(std::min(count, kMostOfOneUse));
        usage.mutable_last_used_time()->set_seconds(now);
        usage.set_decision(static_cast<v1::Decision>(decision));
        waiting.back().uses += usage.count();
      }
    });
  }

  // Sends the first message; its answer sends the next.
  void SendNext(absl::Duration timeout) {
    const v1::ReportUsageRequest* request = nullptr;
    {
      const std::lock_guard lock(mutex);
      while (!waiting.empty() && clock.BootNow() - waiting.front().made_at > kPatience) {
        dropped += waiting.front().uses;
        waiting.pop_front();
      }
      if (sending || waiting.empty()) return;
      sending = true;
      waiting.front().sealed = true;
      request = &waiting.front().request;
      if (finish_by != absl::InfinitePast()) timeout = std::min(timeout, finish_by - absl::Now());
    }
    send(*request, timeout, [self = shared_from_this()](const absl::Status& status) { self->Sent(status); });
  }

  void Sent(const absl::Status& status) {
    bool go_on = true;
    absl::Notification* finished = nullptr;
    {
      const std::lock_guard lock(mutex);
      sending = false;
      if (status.ok() || IsHopeless(status)) {
        (status.ok() ? reported : dropped) += waiting.front().uses;
        waiting.pop_front();
      } else {
        go_on = false;
      }
      if (finish_by != absl::InfinitePast()) go_on = go_on && absl::Now() < finish_by;
      if (!go_on || waiting.empty()) finished = std::exchange(on_idle, nullptr);
    }
    if (finished != nullptr) {
      finished->Notify();
    } else if (go_on) {
      SendNext(kCallTimeout);
    }
  }

  const core::SystemClock clock;
  EventLoop& loop;
  const absl::Duration interval;
  const Send send;
  std::function<void()> tick;

  bool draining = false;  // On the loop: a table is out of use and not empty yet.
  mutable std::mutex mutex;
  std::deque<Message> waiting;  // The first is on the wire while `sending`.
  bool sending = false;
  bool stopped = false;
  absl::Time finish_by = absl::InfinitePast();
  absl::Notification* on_idle = nullptr;
  int64_t reported = 0;
  int64_t dropped = 0;
};

UsageReporter::UsageReporter(EventLoop& loop, size_t keys, absl::Duration interval, Send send)
    : tables_{UseTable(keys), UseTable(keys)},
      active_(&tables_[0]),
      state_(std::make_shared<State>(loop, interval, std::move(send))) {
  // On the loop.
  state_->tick = [this, state = state_.get()] {
    bool room = false;
    {
      const std::lock_guard lock(state->mutex);
      if (state->stopped) return;
      room = state->waiting.size() < kMostWaiting;
    }
    state->loop.After(state->interval, [keep = state_] { keep->tick(); });
    if (!room || std::exchange(state->draining, true)) return state->SendNext(kCallTimeout);
    UseTable* before = active_.load(std::memory_order_relaxed);
    active_.store(before == &tables_[0] ? &tables_[1] : &tables_[0], std::memory_order_release);
    state->loop.After(kAfterSwap, [keep = state_, before] {
      {
        const std::lock_guard lock(keep->mutex);
        if (keep->stopped) return;
      }
      keep->Fill(*before);
      keep->draining = false;
      keep->SendNext(kCallTimeout);
    });
  };
  loop.After(interval, [keep = state_] { keep->tick(); });
}

UsageReporter::~UsageReporter() {
  const std::lock_guard lock(state_->mutex);
  state_->stopped = true;
  state_->tick = nullptr;
}

void UsageReporter::Finish(absl::Duration patience) {
  absl::Notification idle;
  {
    const std::lock_guard lock(state_->mutex);
    state_->stopped = true;
    state_->finish_by = absl::Now() + patience;
  }
  // The loop may be at a table right now; after this it looks at `stopped` first.
  absl::Notification passed;
  state_->loop.Post([&passed] { passed.Notify(); });
  passed.WaitForNotification();
  state_->Fill(tables_[0]);
  state_->Fill(tables_[1]);
  {
    const std::lock_guard lock(state_->mutex);
    if (state_->waiting.empty()) return;
    state_->on_idle = &idle;
  }
  state_->SendNext(patience);
  if (idle.WaitForNotificationWithTimeout(patience)) return;
  const std::lock_guard lock(state_->mutex);
  // Whoever took the pointer has finished with it before the mutex was free, or is about to notify.
  if (state_->on_idle == nullptr) idle.WaitForNotification();
  state_->on_idle = nullptr;
}

int64_t UsageReporter::reported() const {
  const std::lock_guard lock(state_->mutex);
  return state_->reported;
}

int64_t UsageReporter::dropped() const {
  const std::lock_guard lock(state_->mutex);
  return state_->dropped + dropped_.value();
}

}  // namespace latchkey::client
