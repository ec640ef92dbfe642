#pragma once

#include <chrono>
#include <condition_variable>
#include <map>
#include <mutex>
#include <thread>
#include <utility>

#include "absl/time/time.h"

namespace latchkey::storage::postgres {

// Ends conversations that last too long. statement_timeout is the server's to keep and tcp_user_timeout the kernel's: a
// server that is stopped, or behind a proxy that swallows everything, keeps neither, and libpq itself waits for ever. A
// socket whose time is over is shut down, which its reader sees as a broken connection. Thread-safe.
class Watchdog {
 public:
  explicit Watchdog(absl::Duration limit);
  ~Watchdog();
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

  // While it lives, `socket` has until the limit. The socket stays open at least as long: libpq closes its own inside a
  // statement when that breaks, and the number is soon another's, so this is a duplicate (SocketCopy).
  class Watch {
   public:
    Watch(Watchdog* dog, int socket);  // No dog, no limit.
    ~Watch();
    Watch(const Watch&) = delete;
    Watch& operator=(const Watch&) = delete;

   private:
    Watchdog* const dog_;
    std::multimap<std::chrono::steady_clock::time_point, int>::iterator place_;
  };

 private:
  void Guard();

  static constexpr int kShut = -1;
  const std::chrono::nanoseconds limit_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::multimap<std::chrono::steady_clock::time_point, int> sockets_;  // By when their time is over.
  bool stopping_ = false;
  std::thread thread_;
};

// Another descriptor of an open socket, which nobody else closes.
class SocketCopy {
 public:
  explicit SocketCopy(int socket);  // get() < 0 if it can't be had.
  ~SocketCopy();
  SocketCopy(const SocketCopy&) = delete;
  SocketCopy& operator=(const SocketCopy&) = delete;
  int get() const { return copy_; }

 private:
  const int copy_;
};

}  // namespace latchkey::storage::postgres
