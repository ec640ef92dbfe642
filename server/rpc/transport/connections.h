#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/statusor.h"
#include "server/base/line_limit.h"
#include "server/rpc/transport/charge.h"

namespace latchkey::rpc {

// Classes of what a peer may hold without having authenticated, each with limits of its own for the process and for
// each connection: a flood of one does not reach another.
enum class AnonymousClass : size_t {
  kUnproven,    // Calls whose caller is not known yet, or was refused.
  kHealth,      // grpc.health.v1.Health/Watch.
  kReflection,  // Server reflection.
};
inline constexpr size_t kAnonymousClasses = 3;

struct ConnectionLimits {
  // Calls of a connection at a time, those included whose end the peer has not taken. Above the 100 that the peer is
  // told, because a call is over here a little later than there.
  size_t calls = 256;
  // Indexed by AnonymousClass.
  std::array<Amount, kAnonymousClasses> process = {{{256, 8 << 20}, {1024, 16 << 20}, {64, 4 << 20}}};
  std::array<Amount, kAnonymousClasses> connection = {{{32, 2 << 20}, {8, 512 << 10}, {4, 1 << 20}}};
};

// A call that its connection can cancel.
class OpenCall {
 public:
  // What cancels it; may be called after its end, on any thread.
  virtual std::function<void()> Canceller() const = 0;

 protected:
  ~OpenCall() = default;
};

// A connection that was accepted, as the server's accounting knows it. Thread-safe.
class Connection {
 public:
  using Counter = std::atomic<size_t>;

  // `descriptor`: one of its socket that this connection closes; -1 = not known. `ending`: Connections::ending_calls.
  Connection(uint64_t serial, int descriptor, size_t calls, std::array<std::shared_ptr<Account>, kAnonymousClasses> of,
             std::shared_ptr<Counter> ending);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  // A number that no other connection of this process has or had.
  uint64_t serial() const { return serial_; }
  const std::shared_ptr<Account>& calls() const { return calls_; }
  const std::shared_ptr<Account>& account(AnonymousClass of) const { return anonymous_[static_cast<size_t>(of)]; }

  // A caller has authenticated on it.
  void NoteProven() { proven_.store(true, std::memory_order_relaxed); }
  bool proven() const { return proven_.load(std::memory_order_relaxed); }

  // A call of it begins and ends. `call` lives in between.
  void AddCall(const OpenCall& call);
  void RemoveCall(const OpenCall& call);

  // Shuts its socket and cancels its calls: what they hold is not kept until a transport comes to read that the socket
  // is shut. True the first time. Without a descriptor it cancels the calls that there are, each time.
  bool Shut();
  bool is_shut() const { return shut_.load(std::memory_order_relaxed); }
  int descriptor() const { return descriptor_; }

 private:
  const uint64_t serial_;
  const int descriptor_;
  const std::shared_ptr<Account> calls_;
  const std::array<std::shared_ptr<Account>, kAnonymousClasses> anonymous_;
  std::atomic<bool> proven_ = false;
  std::atomic<bool> shut_ = false;
  const std::shared_ptr<Counter> ending_;
  std::mutex mutex_;
  absl::flat_hash_set<const OpenCall*> open_;
};

// The connections that exist, by the text that a transport has for them. It holds none of them alive: whoever accepted
// one does, or its calls. Thread-safe.
class Connections {
 public:
  explicit Connections(const ConnectionLimits& limits);

  // One that was just accepted, in place of an earlier one of that name. `name`: as calls will ask for it.
  std::shared_ptr<Connection> Add(const std::string& name, int descriptor);
  // The connection of a call; made, without a descriptor, if it was not added.
  std::shared_ptr<Connection> Of(const std::string& name);

  // Calls of connections that were shut, which are not over yet: their end takes a transport some time, and their
  // memory.
  size_t ending_calls() const { return ending_->load(std::memory_order_relaxed); }

  // Something that a peer holds without having authenticated. WORKERS_BUSY if the connection holds as much as it may.
  // If it does not, and the process is full, then the connection that holds most of this class is shut to make room;
  // WORKERS_BUSY if none holds more than `connection` would. So one peer alone can't keep the others out, and peers
  // that share an address (a proxy's) are not taken for one. One on which a caller has authenticated is not shut for
  // one on which none has, and gets the room of any such.
  absl::StatusOr<Charge> Take(AnonymousClass of, const std::shared_ptr<Connection>& connection, Amount amount);

 private:
  std::shared_ptr<Connection> MakeLocked(const std::string& name, int descriptor);
  // What can be shut so that `amount` fits for `connection`: a connection; nullptr and `*fits` = what is being ended
  // already makes room.
  std::shared_ptr<Connection> LargestHolder(AnonymousClass of, const Connection& connection, Amount amount, bool* fits);

  const ConnectionLimits limits_;
  std::array<std::shared_ptr<Account>, kAnonymousClasses> process_;
  const std::shared_ptr<Connection::Counter> ending_ = std::make_shared<Connection::Counter>(0);
  std::mutex mutex_;
  uint64_t last_serial_ = 0;
  absl::flat_hash_map<std::string, std::weak_ptr<Connection>> by_name_;
  size_t tidy_at_ = 1024;  // Entries.
  base::LineLimit shuts_{1, 5};
};

}  // namespace latchkey::rpc
