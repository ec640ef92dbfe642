#include "tests/support/tcp_proxy.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <list>
#include <utility>
#include <vector>

namespace latchkey::testing {
namespace {

constexpr size_t kLargest = 64 * 1024;
constexpr size_t kMostHeld = 4 * 1024 * 1024;
constexpr int64_t kMillisecond = 1'000'000;

int64_t Now() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

void Prepare(int socket) {
  fcntl(socket, F_SETFL, fcntl(socket, F_GETFL) | O_NONBLOCK);
  const int on = 1;
  setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);  // Of a Unix socket: fails, and is not needed.
}

sockaddr_in Loopback(int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

// Both answer at once: connected, or nobody is there (-1).
int ConnectTo(const std::string& target) {
  const bool is_path = target.front() == '/';
  const int connection = socket(is_path ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  int failed = -1;
  if (is_path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (target.size() < sizeof address.sun_path) {
      std::memcpy(address.sun_path, target.data(), target.size());
      failed = connect(connection, reinterpret_cast<const sockaddr*>(&address), sizeof address);
    }
  } else {
    const sockaddr_in address = Loopback(std::stoi(target));
    failed = connect(connection, reinterpret_cast<const sockaddr*>(&address), sizeof address);
  }
  if (failed == 0) return connection;
  close(connection);
  return -1;
}

// Ends it with a reset, not with a polite FIN.
void ResetAndClose(int socket) {
  const linger now{.l_onoff = 1, .l_linger = 0};
  setsockopt(socket, SOL_SOCKET, SO_LINGER, &now, sizeof now);
  close(socket);
}

// Bytes on their way in one direction.
struct Pipe {
  struct Piece {
    int64_t due;
    std::string bytes;
  };
  std::deque<Piece> pieces;
  size_t held = 0;
  bool ended = false;  // No more will come.
  bool closed = false;

  bool wants_more() const { return !ended && held < kMostHeld; }
};

// Moves what it can; false if the connection broke.
bool Read(int from, Pipe& pipe, int64_t latency) {
  while (pipe.wants_more()) {
    char buffer[kLargest];
    const ssize_t got = recv(from, buffer, sizeof buffer, 0);
    if (got > 0) {
      pipe.pieces.push_back({Now() + latency, std::string(buffer, static_cast<size_t>(got))});
      pipe.held += static_cast<size_t>(got);
    } else if (got == 0) {
      pipe.ended = true;
    } else {
      return errno == EAGAIN || errno == EINTR;
    }
  }
  return true;
}

bool Write(int to, Pipe& pipe) {
  while (!pipe.pieces.empty() && pipe.pieces.front().due <= Now()) {
    std::string& bytes = pipe.pieces.front().bytes;
    const ssize_t sent = send(to, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent < 0) return errno == EAGAIN || errno == EINTR;
    pipe.held -= static_cast<size_t>(sent);
    bytes.erase(0, static_cast<size_t>(sent));
    if (!bytes.empty()) return true;
    pipe.pieces.pop_front();
  }
  if (pipe.ended && pipe.pieces.empty() && !pipe.closed) {
    shutdown(to, SHUT_WR);
    pipe.closed = true;
  }
  return true;
}

// When to look at a pipe again.
struct Waits {
  std::vector<pollfd> descriptors;
  int64_t next_due = INT64_MAX;

  // What must happen at a pipe's two ends before anything moves in it.
  void Add(int from, int to, const Pipe& pipe, int64_t now) {
    if (pipe.wants_more()) descriptors.push_back({from, POLLIN, 0});
    if (pipe.pieces.empty()) return;
    if (pipe.pieces.front().due <= now) {
      descriptors.push_back({to, POLLOUT, 0});
    } else if (pipe.pieces.front().due < next_due) {
      next_due = pipe.pieces.front().due;
    }
  }
  void Wait(int64_t now) {
    const int64_t wait = next_due == INT64_MAX ? -1 : (next_due - now + kMillisecond - 1) / kMillisecond;
    poll(descriptors.data(), descriptors.size(), static_cast<int>(wait));
  }
};

}  // namespace

struct TcpProxy::Link {
  int client;
  int target;
  Pipe to_target;
  Pipe from_target;
  bool broken = false;
};

TcpProxy::TcpProxy(std::string target) : target_(std::move(target)) {
  listener_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  wake_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  sockaddr_in address = Loopback(0);
  socklen_t size = sizeof address;
  if (listener_ < 0 || wake_ < 0 || bind(listener_, reinterpret_cast<sockaddr*>(&address), size) != 0 ||
      listen(listener_, 128) != 0 || getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    std::abort();
  }
  fcntl(listener_, F_SETFL, O_NONBLOCK);
  port_ = ntohs(address.sin_port);
  thread_ = std::thread([this] { Run(); });
}

TcpProxy::~TcpProxy() {
  stopping_ = true;
  Wake();
  thread_.join();
  close(listener_);
  close(wake_);
}

void TcpProxy::Set(Mode mode) {
  mode_ = mode;
  const int number = ++modes_set_;
  Wake();
  for (int seen = modes_in_effect_; seen < number; seen = modes_in_effect_) modes_in_effect_.wait(seen);
}

void TcpProxy::SetLatency(absl::Duration latency) {
  latency_ns_ = absl::ToInt64Nanoseconds(latency);
  Wake();
}

void TcpProxy::Reset() {
  ++resets_;
  Wake();
}

void TcpProxy::SetTarget(std::string target) {
  const std::lock_guard lock(mutex_);
  target_ = std::move(target);
}

std::string TcpProxy::target() const {
  const std::lock_guard lock(mutex_);
  return target_;
}

void TcpProxy::Wake() const {
  const uint64_t one = 1;
  // It can only fail if the thread is about to wake anyway.
  [[maybe_unused]] const ssize_t written = write(wake_, &one, sizeof one);
}

void TcpProxy::Run() {
  std::list<Link> links;
  int resets_done = resets_;
  while (!stopping_) {
    const int modes_set = modes_set_;
    const Mode mode = mode_;
    modes_in_effect_ = modes_set;
    modes_in_effect_.notify_all();
    const bool to_target = mode == Mode::kPass || mode == Mode::kStallFromTarget;
    const bool from_target = mode == Mode::kPass || mode == Mode::kStallToTarget;
    const int resets = resets_;
    const bool reset = std::exchange(resets_done, resets) != resets;
    const int64_t latency = latency_ns_;
    for (Link& link : links) {
      link.broken = reset || mode == Mode::kCut;
      if (to_target && !link.broken) {
        link.broken = !Read(link.client, link.to_target, latency) || !Write(link.target, link.to_target);
      }
      if (from_target && !link.broken) {
        link.broken = !Read(link.target, link.from_target, latency) || !Write(link.client, link.from_target);
      }
      if (link.broken) {
        ResetAndClose(link.client);
        ResetAndClose(link.target);
      } else if (link.to_target.closed && link.from_target.closed) {
        close(link.client);
        close(link.target);
        link.broken = true;
      }
    }
    links.remove_if([](const Link& link) { return link.broken; });

    const int64_t now = Now();
    Waits waits{.descriptors = {{listener_, POLLIN, 0}, {wake_, POLLIN, 0}}};
    for (const Link& link : links) {
      if (to_target) waits.Add(link.client, link.target, link.to_target, now);
      if (from_target) waits.Add(link.target, link.client, link.from_target, now);
    }
    waits.Wait(now);
    uint64_t woken;
    [[maybe_unused]] const ssize_t read_size = read(wake_, &woken, sizeof woken);

    for (int client = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC); client >= 0;
         client = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC)) {
      const int target = mode_ == Mode::kCut ? -1 : ConnectTo(this->target());
      if (target < 0) {
        ResetAndClose(client);
        continue;
      }
      Prepare(client);
      Prepare(target);
      links.push_back({client, target, {}, {}});
    }
  }
  for (const Link& link : links) {
    ResetAndClose(link.client);
    ResetAndClose(link.target);
  }
}

}  // namespace latchkey::testing
