#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "absl/time/time.h"
#include "server/base/periodic.h"

namespace latchkey::app {

// Dials this process's own listener on a new connection, again and again, and says when it is deaf: alive, but accepts
// nobody. An answer is the first bytes of HTTP/2, or that the connection is closed at once, as one too many is.
class ListenerWatchdog {
 public:
  struct Options {
    std::string address;  // HOST:PORT or unix:PATH, as bound.
    absl::Duration every = absl::Seconds(5);
    absl::Duration patience = absl::Seconds(5);  // Of one dial.
    int misses = 3;  // In a row, until deaf() is called; four times as many while `progress` goes on.
    // Grows while connections are accepted: then a dial without an answer may only wait behind many others.
    std::function<uint64_t()> progress;
    std::function<void()> alive;  // After each answer.
    std::function<void()> deaf;   // Once.
  };

  explicit ListenerWatchdog(Options options);
  ~ListenerWatchdog() { Stop(); }

  // Waits for a dial that is under way. Idempotent.
  void Stop() { dials_.Stop(); }

 private:
  void Dial();

  const Options options_;
  int missed_ = 0;  // In quarters.
  uint64_t progress_ = 0;
  base::Periodic dials_;
};

// Whether the server at `address` answers on a new connection within `patience`.
bool ListenerAnswers(const std::string& address, absl::Duration patience);

// systemd's watchdog protocol (sd_watchdog_enabled(3), sd_notify(3)).
// How often it wants to hear: half of WATCHDOG_USEC; infinite if it wants nothing of this process.
absl::Duration SystemdWatchdogInterval();
// Sends WATCHDOG=1 to NOTIFY_SOCKET; nothing without one.
void NotifySystemdAlive();

}  // namespace latchkey::app
