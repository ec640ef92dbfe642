#include "server/storage/postgres/watchdog.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

namespace latchkey::storage::postgres {

Watchdog::Watchdog(absl::Duration limit) : limit_(absl::ToChronoNanoseconds(limit)), thread_([this] { Guard(); }) {}

Watchdog::~Watchdog() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

Watchdog::Watch::Watch(Watchdog* dog, int socket) : dog_(dog) {
  if (dog_ == nullptr) return;
  const std::lock_guard lock(dog_->mutex_);
  // Every deadline is later than those before it, so the thread need not be woken for a new one.
  place_ = dog_->sockets_.emplace(std::chrono::steady_clock::now() + dog_->limit_, socket);
}

Watchdog::Watch::~Watch() {
  if (dog_ == nullptr) return;
  const std::lock_guard lock(dog_->mutex_);
  dog_->sockets_.erase(place_);
}

void Watchdog::Guard() {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    const auto now = std::chrono::steady_clock::now();
    auto next = now + limit_;
    for (auto& [until, socket] : sockets_) {
      if (until > now) {
        next = until;
        break;
      }
      // Under the lock: its Watch, and so the socket, is still there.
      if (socket != kShut) shutdown(std::exchange(socket, kShut), SHUT_RDWR);
    }
    changed_.wait_until(lock, next, [this] { return stopping_; });
  }
}

SocketCopy::SocketCopy(int socket) : copy_(fcntl(socket, F_DUPFD_CLOEXEC, 0)) {}

SocketCopy::~SocketCopy() {
  if (copy_ >= 0) close(copy_);
}

}  // namespace latchkey::storage::postgres
