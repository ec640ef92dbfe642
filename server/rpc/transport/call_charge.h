#pragma once

#include <cstddef>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "server/rpc/transport/charge.h"
#include "server/rpc/transport/connections.h"
#include "server/rpc/transport/message_deadlines.h"

namespace latchkey::rpc {

// The memory of a call that is open, whatever it does: measured on gRPC 1.51.1 (10.6 KiB), rounded up.
inline constexpr size_t kCallBytes = 11 << 10;

// Limits of what calls hold, and the accounts of all of them. Thread-safe.
class Admission {
 public:
  struct Limits {
    ConnectionLimits connections;
    // Of answers that peers have not taken yet.
    size_t process_unsent_bytes = 96 << 20;
    size_t organization_unsent_bytes = 32 << 20;
    size_t caller_unsent_bytes = 16 << 20;
    size_t stream_unsent_bytes = 8 << 20;
    // Of all metadata of a call, counted as HTTP/2 does: name + value + 32 an entry.
    size_t metadata_bytes = 8 << 10;
  };

  explicit Admission(const Limits& limits);

  Connections& connections() { return connections_; }
  MessageDeadlines& deadlines() { return deadlines_; }
  const Limits& limits() const { return limits_; }
  // Of the unsent answers of one key. Accounts above it: its organization's, the process's.
  std::shared_ptr<Account> UnsentOf(const std::string& organization, const std::string& kid);

 private:
  const Limits limits_;
  Connections connections_;
  MessageDeadlines deadlines_;
  AccountsByName organizations_;
  std::mutex mutex_;
  absl::flat_hash_map<std::string, std::shared_ptr<AccountsByName>> callers_;  // By organization.
};

// What one call is charged for, from its headers to its end. Whoever has it ends it after the call. Not thread-safe.
class CallCharge {
 public:
  // `of`: what the call is before its caller is known.
  CallCharge(Admission& admission, std::shared_ptr<Connection> connection, AnonymousClass of)
      : admission_(admission), connection_(std::move(connection)), class_(of) {}

  Connection& connection() const { return *connection_; }

  // The call has begun. `places`: of its class, 1 for what may stay open. WORKERS_BUSY if its connection holds too
  // much; if that is too many calls, the connection is shut as well.
  absl::Status Begin(size_t places);
  // What it waits for has come, and others bound what is done with it. `call` is no longer the connection's to end.
  void StartWork(const OpenCall& call) {
    anonymous_.Release();
    connection_->RemoveCall(call);
  }
  // Its caller is known: from now on what it holds is that key's.
  void SetCaller(const std::string& organization, const std::string& kid);
  // Bytes that the peer has to take. WORKERS_BUSY if it, or its caller, has too many.
  absl::Status AddUnsent(size_t bytes);
  void NoteSent(size_t bytes) { unsent_.GiveBack({0, bytes}); }

  enum class Answer {
    kSend,
    kBusy,   // There is memory for WORKERS_BUSY instead.
    kReset,  // There is none.
  };
  // The answer is decided, of which `bytes` were not added yet: the place is given back; bytes are not, before the end.
  Answer Finish(size_t bytes);

 private:
  Admission& admission_;
  const std::shared_ptr<Connection> connection_;
  const AnonymousClass class_;
  Charge call_;       // Of the connection's calls.
  Charge anonymous_;  // Until the caller is known.
  std::shared_ptr<Account> caller_;
  Charge unsent_;
};

}  // namespace latchkey::rpc
