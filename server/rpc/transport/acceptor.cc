#include "server/rpc/transport/acceptor.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "server/base/clock.h"
#include "server/base/log.h"

namespace latchkey::rpc {
namespace {

constexpr int kBacklog = 4096;
// As gRPC's own accept has it: a peer that does not acknowledge what was sent is given up after so long.
constexpr int kUserTimeoutMs = 20'000;
constexpr absl::Duration kRest = absl::Milliseconds(100);
// How soon a connection's first bytes come, and how often it is looked whether they were read.
constexpr absl::Duration kFirstBytes = absl::Milliseconds(2);
constexpr absl::Duration kLook = absl::Milliseconds(1);
// In epoll's data, beside serials of connections.
constexpr uint64_t kListenerBit = uint64_t{1} << 63;
constexpr uint64_t kWake = ~uint64_t{0};

struct PeerAddress {
  std::string address;  // "" = not an IP address.
  std::string port;
};

PeerAddress AddressOf(const sockaddr_storage& peer) {
  char text[INET6_ADDRSTRLEN] = "";
  if (peer.ss_family == AF_INET) {
    const auto& v4 = reinterpret_cast<const sockaddr_in&>(peer);
    inet_ntop(AF_INET, &v4.sin_addr, text, sizeof text);
    return {text, absl::StrCat(ntohs(v4.sin_port))};
  }
  if (peer.ss_family == AF_INET6) {
    const auto& v6 = reinterpret_cast<const sockaddr_in6&>(peer);
    if (IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr)) {
      inet_ntop(AF_INET, &v6.sin6_addr.s6_addr[12], text, sizeof text);
    } else {
      inet_ntop(AF_INET6, &v6.sin6_addr, text, sizeof text);
    }
    return {text, absl::StrCat(ntohs(v6.sin6_port))};
  }
  return {};
}

uint16_t* PortIn(sockaddr* address) {
  return address->sa_family == AF_INET ? &reinterpret_cast<sockaddr_in*>(address)->sin_port
                                       : &reinterpret_cast<sockaddr_in6*>(address)->sin6_port;
}

absl::Status CantListen(const std::string& address, const std::string& why) {
  return absl::FailedPreconditionError(absl::StrCat("can't listen on ", address, ": ", why));
}

}  // namespace

std::string ConnectionNameOf(const std::string& address, const std::string& port) {
  return absl::StrCat(address, " ", port);
}

Acceptor::Acceptor(const Limits& limits, Connections& connections)
    : limits_(limits),
      connections_(connections),
      events_(epoll_create1(EPOLL_CLOEXEC)),
      wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      spare_(open("/dev/null", O_RDONLY | O_CLOEXEC)) {}

Acceptor::~Acceptor() {
  Stop();
  for (const int descriptor : {events_, wake_, spare_}) {
    if (descriptor >= 0) close(descriptor);
  }
}

absl::StatusOr<std::unique_ptr<Acceptor>> Acceptor::Listen(const std::string& address, const Limits& limits,
                                                           Connections& connections) {
  std::unique_ptr<Acceptor> acceptor(new Acceptor(limits, connections));
  if (acceptor->events_ < 0 || acceptor->wake_ < 0) return CantListen(address, "no descriptors left");
  if (absl::Status listening = acceptor->ListenOn(address); !listening.ok()) return listening;
  return acceptor;
}

absl::Status Acceptor::ListenOn(const std::string& address) {
  if (absl::string_view path = address; absl::ConsumePrefix(&path, "unix:")) {
    absl::ConsumePrefix(&path, "//");
    return ListenOnUnixSocket(std::string(path));
  }
  const size_t colon = address.rfind(':');
  std::string host = address.substr(0, colon);
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE;
  addrinfo* found = nullptr;
  if (const int error = getaddrinfo(host.c_str(), address.c_str() + colon + 1, &hints, &found); error != 0) {
    return CantListen(address, gai_strerror(error));
  }
  for (const addrinfo* one = found; one != nullptr; one = one->ai_next) {
    // All addresses of a name have one port, also a free one.
    if (port_ != 0) *PortIn(one->ai_addr) = htons(static_cast<uint16_t>(port_));
    ListenOnAddress(one->ai_addr, one->ai_addrlen);
  }
  freeaddrinfo(found);
  if (!listeners_.empty()) return absl::OkStatus();
  return CantListen(address, "the port is in use, or the address is not one of this machine");
}

bool Acceptor::ListenOnAddress(const sockaddr* address, socklen_t length) {
  const int listener = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (listener < 0) return false;
  const int on = 1;
  if (address->sa_family != AF_UNIX) {
    // Accepted sockets inherit the last two.
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    setsockopt(listener, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(listener, IPPROTO_TCP, TCP_USER_TIMEOUT, &kUserTimeoutMs, sizeof kUserTimeoutMs);
  }
  if (bind(listener, address, length) != 0 || listen(listener, kBacklog) != 0) {
    close(listener);
    return false;
  }
  if (address->sa_family != AF_UNIX && port_ == 0) {
    sockaddr_storage bound{};
    socklen_t size = sizeof bound;
    getsockname(listener, reinterpret_cast<sockaddr*>(&bound), &size);
    port_ = ntohs(*PortIn(reinterpret_cast<sockaddr*>(&bound)));
  }
  listeners_.push_back(listener);
  return true;
}

absl::Status Acceptor::ListenOnUnixSocket(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) return CantListen("unix:" + path, "the path is too long");
  path.copy(address.sun_path, path.size());
  const auto* const generic = reinterpret_cast<const sockaddr*>(&address);
  struct stat file {};
  if (stat(path.c_str(), &file) == 0) {
    if (!S_ISSOCK(file.st_mode)) return CantListen("unix:" + path, "there is a file, which is no socket");
    const int dial = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    const bool dead = dial >= 0 && connect(dial, generic, sizeof address) != 0 && errno == ECONNREFUSED;
    if (dial >= 0) close(dial);
    if (!dead) return CantListen("unix:" + path, "another process listens there");
    unlink(path.c_str());
  }
  if (!ListenOnAddress(generic, sizeof address)) return CantListen("unix:" + path, std::strerror(errno));
  unix_path_ = path;
  return absl::OkStatus();
}

void Acceptor::Start(HandOver hand_over) {
  hand_over_ = std::move(hand_over);
  Watch(wake_, EPOLLIN, kWake);
  for (size_t i = 0; i < listeners_.size(); ++i) Watch(listeners_[i], EPOLLIN, kListenerBit | i);
  thread_ = std::thread([this] { Work(); });
}

void Acceptor::Stop() {
  if (thread_.joinable()) {
    const uint64_t one = 1;
    if (write(wake_, &one, sizeof one) != sizeof one) log::Error("the acceptor can't be woken");
    thread_.join();
  }
  for (const int listener : listeners_) close(listener);
  listeners_.clear();
  if (!unix_path_.empty()) unlink(unix_path_.c_str());
  unix_path_.clear();
  accepted_.clear();
}

void Acceptor::Watch(int descriptor, uint32_t events, uint64_t data) {
  epoll_event event{};
  event.events = events;
  event.data.u64 = data;
  epoll_ctl(events_, EPOLL_CTL_ADD, descriptor, &event);
}

void Acceptor::Work() {
  std::array<epoll_event, 64> events{};
  std::vector<size_t> resting;
  base::BootTime rested;
  for (;;) {
    int patience = -1;
    if (!resting.empty()) {
      const absl::Duration left = std::max(rested - base::SystemClock().BootNow(), absl::ZeroDuration());
      patience = static_cast<int>(absl::ToInt64Milliseconds(absl::Ceil(left, absl::Milliseconds(1))));
    }
    turns_.fetch_add(1, std::memory_order_relaxed);
    const int count = epoll_wait(events_, events.data(), static_cast<int>(events.size()), patience);
    if (!resting.empty() && base::SystemClock().BootNow() >= rested) {
      for (const size_t i : std::exchange(resting, {})) Watch(listeners_[i], EPOLLIN, kListenerBit | i);
    }
    // Ends first: they make room.
    for (int i = 0; i < count; ++i) {
      const uint64_t data = events[static_cast<size_t>(i)].data.u64;
      if (data == kWake) return;
      if ((data & kListenerBit) == 0) Forget(data);
    }
    for (int i = 0; i < count; ++i) {
      const uint64_t data = events[static_cast<size_t>(i)].data.u64;
      if ((data & kListenerBit) == 0) continue;
      const size_t index = data & ~kListenerBit;
      const absl::Duration rest = AcceptAll(listeners_[index]);
      if (rest == absl::ZeroDuration()) continue;
      rested = std::max(rested, base::SystemClock().BootNow() + rest);
      epoll_ctl(events_, EPOLL_CTL_DEL, listeners_[index], nullptr);
      resting.push_back(index);
    }
  }
}

absl::Duration Acceptor::AcceptAll(int listener) {
  // Not without an end: those that are over must be noticed meanwhile.
  for (int i = 0; i < 64; ++i) {
    if (!Settle()) return kLook;
    sockaddr_storage peer{};
    socklen_t length = sizeof peer;
    const int descriptor = accept4(listener, reinterpret_cast<sockaddr*>(&peer), &length, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (descriptor >= 0) {
      Take(listener, descriptor, peer);
      continue;
    }
    switch (errno) {
      case EAGAIN:
        return absl::ZeroDuration();
      case EMFILE:
      case ENFILE:
        return SurviveExhaustion(listener);
      case ENOBUFS:
      case ENOMEM:
        LogRefusal("the system has no memory for sockets");
        return kRest;
      default:
        continue;  // Of one connection, that is gone already.
    }
  }
  return absl::ZeroDuration();
}

bool Acceptor::Settle() {
  const base::BootTime now = base::SystemClock().BootNow();
  if (now - accepted_at_ >= limits_.longest_pause) return true;
  if (connections_.ending_calls() > limits_.ending_calls) return false;
  if (fresh_.size() < std::min(limits_.unread, limits_.fresh)) return true;
  size_t with_bytes = 0;
  fresh_.remove_if([&](const Fresh& one) {
    const auto found = accepted_.find(one.serial);
    if (found == accepted_.end() || found->second.connection->proven()) return true;
    const absl::Duration age = now - one.since;
    int bytes = 0;
    if (age >= limits_.longest_pause || ioctl(found->second.connection->descriptor(), FIONREAD, &bytes) != 0) {
      return true;
    }
    if (bytes > 0) {
      ++with_bytes;
      return false;
    }
    return age >= kFirstBytes;
  });
  return with_bytes < limits_.unread && fresh_.size() < limits_.fresh;
}

absl::Duration Acceptor::SurviveExhaustion(int listener) {
  LogRefusal("no descriptors left");
  if (spare_ >= 0) close(std::exchange(spare_, -1));
  const int descriptor = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
  if (descriptor >= 0) close(descriptor);
  spare_ = open("/dev/null", O_RDONLY | O_CLOEXEC);
  // Another thread may have been faster; then the peer waits in the backlog.
  return descriptor >= 0 && spare_ >= 0 ? absl::ZeroDuration() : kRest;
}

void Acceptor::Take(int listener, int descriptor, const sockaddr_storage& peer) {
  const PeerAddress from = AddressOf(peer);
  const bool is_unix = from.address.empty();
  const int own = MakeRoom(from.address, is_unix) ? fcntl(descriptor, F_DUPFD_CLOEXEC, 0) : -1;
  if (own < 0) {
    close(descriptor);
    return;
  }
  const std::string name = is_unix ? absl::StrCat("unix ", ++unix_names_) : ConnectionNameOf(from.address, from.port);
  Accepted entry{connections_.Add(name, own), from.address, unproven_.end()};
  const uint64_t serial = entry.connection->serial();
  if (!is_unix) entry.unproven = unproven_.insert(unproven_.end(), serial);
  accepted_at_ = base::SystemClock().BootNow();
  fresh_.push_back({serial, accepted_at_});
  // It is looked through only when it is full.
  if (fresh_.size() > 4 * limits_.fresh) fresh_.pop_front();
  ++by_address_[from.address];
  accepted_.emplace(serial, std::move(entry));
  Watch(own, 0, serial);  // That both directions are shut is told unasked.
  hand_over_(listener, descriptor);
}

bool Acceptor::MakeRoom(const std::string& address, bool is_unix) {
  const auto count = by_address_.find(address);
  if (!is_unix && count != by_address_.end() && count->second >= limits_.per_address && !CloseOldestUnproven(address)) {
    LogRefusal("too many from its address");
    return false;
  }
  if (accepted_.size() >= limits_.connections && !CloseOldestUnproven("")) {
    LogRefusal("too many connections");
    return false;
  }
  if (!is_unix && unproven_.size() >= limits_.unproven) ForgetProven();
  if (!is_unix && unproven_.size() >= limits_.unproven) CloseOldestUnproven("");
  return true;
}

void Acceptor::ForgetProven() {
  for (auto next = unproven_.begin(); next != unproven_.end();) {
    Accepted& one = accepted_.find(*next)->second;
    if (!one.connection->proven()) {
      ++next;
      continue;
    }
    one.unproven = unproven_.end();
    next = unproven_.erase(next);
  }
}

bool Acceptor::CloseOldestUnproven(const std::string& address) {
  for (auto next = unproven_.begin(); next != unproven_.end();) {
    Accepted& oldest = accepted_.find(*next)->second;
    const bool proven = oldest.connection->proven();
    if (!proven && !address.empty() && oldest.address != address) {
      ++next;
      continue;
    }
    oldest.unproven = unproven_.end();
    next = unproven_.erase(next);
    if (proven) continue;
    oldest.connection->Shut();
    refusals_.Take(base::SystemClock().BootNow());
    return true;
  }
  return false;
}

void Acceptor::Forget(uint64_t serial) {
  const auto found = accepted_.find(serial);
  if (found == accepted_.end()) return;
  Accepted& entry = found->second;
  entry.connection->Shut();  // Its calls end now, and not when the transport comes to read that it is over.
  epoll_ctl(events_, EPOLL_CTL_DEL, entry.connection->descriptor(), nullptr);
  if (entry.unproven != unproven_.end()) unproven_.erase(entry.unproven);
  const auto count = by_address_.find(entry.address);
  if (--count->second == 0) by_address_.erase(count);
  accepted_.erase(found);
}

void Acceptor::LogRefusal(const char* why) {
  const std::optional<int64_t> left_out = refusals_.Take(base::SystemClock().BootNow());
  if (!left_out.has_value()) return;
  log::Warning("connection refused", {{"why", why}, {"left_out_before", *left_out}});
}

}  // namespace latchkey::rpc
