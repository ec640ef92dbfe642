#include "server/app/listener_watchdog.h"

#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <string_view>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/time/clock.h"

namespace latchkey::app {
namespace {

// HTTP/2's connection preface and an empty SETTINGS frame.
constexpr std::string_view kHello("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0", 33);

class Descriptor {
 public:
  explicit Descriptor(int descriptor) : descriptor_(descriptor) {}
  ~Descriptor() {
    if (descriptor_ >= 0) close(descriptor_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return descriptor_; }

 private:
  const int descriptor_;
};

bool WaitFor(int descriptor, short events, absl::Time until) {
  for (;;) {
    pollfd wait{descriptor, events, 0};
    const int64_t left = std::max<int64_t>(0, absl::ToInt64Milliseconds(until - absl::Now()));
    const int ready = poll(&wait, 1, static_cast<int>(left));
    if (ready >= 0 || errno != EINTR) return ready > 0;
  }
}

bool Converse(int family, const sockaddr* address, socklen_t length, absl::Time until) {
  const Descriptor dial(socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (dial.get() < 0) return true;  // That no descriptor is left says nothing of the listener.
  if (connect(dial.get(), address, length) != 0) {
    if (errno != EINPROGRESS || !WaitFor(dial.get(), POLLOUT, until)) return false;
    int error = 0;
    socklen_t size = sizeof error;
    if (getsockopt(dial.get(), SOL_SOCKET, SO_ERROR, &error, &size) != 0 || error != 0) return false;
  }
  static_cast<void>(send(dial.get(), kHello.data(), kHello.size(), MSG_NOSIGNAL));
  return WaitFor(dial.get(), POLLIN, until);
}

sockaddr_un UnixAddress(std::string_view path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  return address;
}

}  // namespace

bool ListenerAnswers(const std::string& address, absl::Duration patience) {
  const absl::Time until = absl::Now() + patience;
  if (address.rfind("unix:", 0) == 0) {
    std::string_view path = std::string_view(address).substr(5);
    if (path.substr(0, 2) == "//") path.remove_prefix(2);
    const sockaddr_un name = UnixAddress(path);
    return Converse(AF_UNIX, reinterpret_cast<const sockaddr*>(&name), sizeof name, until);
  }
  const size_t colon = address.rfind(':');
  std::string host = address.substr(0, colon);
  if (host.size() > 2 && host.front() == '[') host = host.substr(1, host.size() - 2);
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (getaddrinfo(host.c_str(), address.c_str() + colon + 1, &hints, &found) != 0) return true;  // Not the listener's.
  bool answered = false;
  for (const addrinfo* one = found; one != nullptr && !answered; one = one->ai_next) {
    answered = Converse(one->ai_family, one->ai_addr, one->ai_addrlen, until);
  }
  freeaddrinfo(found);
  return answered;
}

ListenerWatchdog::ListenerWatchdog(Options options) : options_(std::move(options)) {
  dials_.Start(options_.every, [this] { Dial(); });
}

void ListenerWatchdog::Dial() {
  if (ListenerAnswers(options_.address, options_.patience)) {
    missed_ = 0;
    if (options_.alive) options_.alive();
    return;
  }
  const uint64_t progress = options_.progress ? options_.progress() : progress_;
  missed_ += progress == std::exchange(progress_, progress) ? 4 : 1;
  if (missed_ >= 4 * options_.misses) options_.deaf();
}

absl::Duration SystemdWatchdogInterval() {
  const char* const wanted = std::getenv("WATCHDOG_USEC");
  const char* const whose = std::getenv("WATCHDOG_PID");
  int64_t microseconds = 0;
  int64_t process = getpid();
  if (wanted == nullptr || !absl::SimpleAtoi(wanted, &microseconds) || microseconds <= 0) {
    return absl::InfiniteDuration();
  }
  if (whose != nullptr && (!absl::SimpleAtoi(whose, &process) || process != getpid())) return absl::InfiniteDuration();
  return absl::Microseconds(microseconds) / 2;
}

void NotifySystemdAlive() {
  const char* const path = std::getenv("NOTIFY_SOCKET");
  if (path == nullptr || (path[0] != '/' && path[0] != '@')) return;
  sockaddr_un address = UnixAddress(path);
  const socklen_t length =
      static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + std::string_view(address.sun_path).size());
  if (path[0] == '@') address.sun_path[0] = '\0';  // Abstract.
  const Descriptor notify(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  constexpr std::string_view kAlive = "WATCHDOG=1";
  static_cast<void>(sendto(notify.get(), kAlive.data(), kAlive.size(), MSG_NOSIGNAL,
                           reinterpret_cast<const sockaddr*>(&address), length));
}

}  // namespace latchkey::app
