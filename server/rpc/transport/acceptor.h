#pragma once

#include <sys/socket.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/base/clock.h"
#include "server/base/line_limit.h"
#include "server/rpc/transport/connections.h"

namespace latchkey::rpc {

// The server's accept loop: one thread over all listening sockets. It bounds connections before a protocol sees them,
// and goes on accepting (and closing) when the process has no descriptor left. A connection takes two descriptors: the
// transport's, and one of the Connection, by which it can be shut and its end is noticed.
class Acceptor {
 public:
  struct Limits {
    size_t connections = 10'000;
    // Of one address; it may be a proxy's.
    size_t per_address = 5'000;
    // On which nobody has authenticated yet. One more closes the oldest of them, so that whoever opens connections and
    // says nothing can't keep others out. Not of Unix sockets, whose calls don't tell their connection.
    size_t unproven = 256;
    // Whose first bytes the transport has not read yet: what one of them sends is parsed before anybody can count it,
    // and everybody waits meanwhile. The others wait in the system's queue.
    size_t unread = 4;
    // Whose first bytes have not come yet, those of above included; after 2 ms they are waited for no longer.
    size_t fresh = 16;
    // Connections::ending_calls above which nobody is accepted.
    size_t ending_calls = 512;
    // One is accepted all the same if none was for so long: whoever keeps bytes unread, or calls from ending, slows
    // accepting down and does not stop it. After as long a connection's first bytes are waited for no longer.
    absl::Duration longest_pause = absl::Milliseconds(20);
  };
  // Takes a connected, non-blocking socket over; called on the acceptor's thread.
  using HandOver = std::function<void(int listening_descriptor, int descriptor)>;

  // Binds and listens. `address`: HOST:PORT (port 0 = a free one) or unix:PATH; a socket file that nobody listens on is
  // replaced. FAILED_PRECONDITION if that can't be done. `connections` outlive it.
  static absl::StatusOr<std::unique_ptr<Acceptor>> Listen(const std::string& address, const Limits& limits,
                                                          Connections& connections);
  ~Acceptor();  // Stops.
  Acceptor(const Acceptor&) = delete;
  Acceptor& operator=(const Acceptor&) = delete;

  // 0 for a Unix socket.
  int port() const { return port_; }
  // Grows while it works. Thread-safe.
  uint64_t turns() const { return turns_.load(std::memory_order_relaxed); }
  // Begins to accept. Once.
  void Start(HandOver hand_over);
  // Closes the listening sockets and joins; connections stay open. Idempotent; not thread-safe.
  void Stop();

 private:
  struct Accepted {
    std::shared_ptr<Connection> connection;
    std::string address;
    std::list<uint64_t>::iterator unproven;  // unproven_.end() = not among them.
  };

  struct Fresh {
    uint64_t serial;
    base::BootTime since;
  };

  Acceptor(const Limits& limits, Connections& connections);
  absl::Status ListenOn(const std::string& address);
  absl::Status ListenOnUnixSocket(const std::string& path);
  bool ListenOnAddress(const sockaddr* address, socklen_t length);

  void Work();
  // How long accepting must rest.
  absl::Duration AcceptAll(int listener);
  absl::Duration SurviveExhaustion(int listener);
  // Whether one more may be handed over, beside those whose first bytes have not been read and the calls that end.
  bool Settle();
  void Take(int listener, int descriptor, const sockaddr_storage& peer);
  // Whether one more may come from `address`; may close another to make room.
  bool MakeRoom(const std::string& address, bool is_unix);
  void ForgetProven();
  // Of those from `address`; "" = of all. False if there is none.
  bool CloseOldestUnproven(const std::string& address);
  void Forget(uint64_t serial);
  void Watch(int descriptor, uint32_t events, uint64_t data);
  void LogRefusal(const char* why);

  const Limits limits_;
  Connections& connections_;
  HandOver hand_over_;
  int port_ = 0;
  std::string unix_path_;  // To be removed at the end.
  std::vector<int> listeners_;
  int events_ = -1;                                   // epoll.
  int wake_ = -1;                                     // eventfd.
  int spare_ = -1;                                    // Closed to have a descriptor when there is none left.
  absl::flat_hash_map<uint64_t, Accepted> accepted_;  // By serial.
  absl::flat_hash_map<std::string, size_t> by_address_;
  std::list<uint64_t> unproven_;  // The oldest first; some may be proven meanwhile.
  std::list<Fresh> fresh_;
  base::BootTime accepted_at_;  // The last one.
  uint64_t unix_names_ = 0;
  base::LineLimit refusals_{1, 5};
  std::atomic<uint64_t> turns_ = 0;
  std::thread thread_;
};

// Name of the connection from an IP address and port, for Connections.
std::string ConnectionNameOf(const std::string& address, const std::string& port);

}  // namespace latchkey::rpc
