#pragma once

#include <chrono>
#include <mutex>

namespace latchkey::rpc {

// Something that waits for a message of its peer.
class AwaitsMessage {
 public:
  // The time is over. Called without a lock, on the thread that sweeps; nothing of it is touched afterwards.
  virtual void OnMessageOverdue() = 0;

 protected:
  ~AwaitsMessage() = default;

 private:
  friend class MessageDeadlines;
  AwaitsMessage* before_ = nullptr;
  AwaitsMessage* after_ = nullptr;
  std::chrono::steady_clock::time_point since_;
  bool listed_ = false;
};

// Server's deadline for the request of a call that has begun: a peer may send the headers of calls and nothing more.
// Thread-safe.
class MessageDeadlines {
 public:
  using Clock = std::chrono::steady_clock;

  explicit MessageDeadlines(Clock::duration patience = std::chrono::seconds(10)) : patience_(patience) {}
  MessageDeadlines(const MessageDeadlines&) = delete;
  MessageDeadlines& operator=(const MessageDeadlines&) = delete;

  // Until Remove, or OnMessageOverdue.
  void Add(AwaitsMessage& one, Clock::time_point now);
  // False: it was overdue, and OnMessageOverdue has been or will be called.
  bool Remove(AwaitsMessage& one);
  // Calls OnMessageOverdue of those that have waited too long.
  void Sweep(Clock::time_point now);

 private:
  void UnlinkLocked(AwaitsMessage& one);

  const Clock::duration patience_;
  std::mutex mutex_;
  AwaitsMessage* first_ = nullptr;  // Waits longest.
  AwaitsMessage* last_ = nullptr;
};

}  // namespace latchkey::rpc
