#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "server/storage/postgres/connection.h"

namespace latchkey::storage::postgres {

// At most `size` sessions, opened when needed. A statement that is not answered a second after its statement_timeout
// breaks its session. Survives a restarted database: a session that the server has closed is noticed when it is
// borrowed and replaced. Thread-safe.
class ConnectionPool {
 public:
  // A borrowed session; gives it back when destroyed, or drops it if it is broken. Falsy if none was to be had.
  class PooledConnection {
   public:
    PooledConnection() = default;
    PooledConnection(PooledConnection&& other) noexcept;
    PooledConnection& operator=(PooledConnection&& other) noexcept;
    ~PooledConnection();

    explicit operator bool() const { return connection_ != nullptr; }
    Connection& operator*() const { return *connection_; }
    Connection* operator->() const { return connection_.get(); }
    // Nobody gets this session again.
    void Drop() { drop_ = true; }
    bool dropped() const { return drop_; }
    // Whether it was opened for this lease: it can't have been stale.
    bool fresh() const { return fresh_; }

   private:
    friend class ConnectionPool;
    void Return();
    ConnectionPool* pool_ = nullptr;
    std::unique_ptr<Connection> connection_;
    bool fresh_ = false;
    bool drop_ = false;
  };

  ConnectionPool(std::string connection_string, SessionSettings settings, int size, absl::Duration longest_wait);
  ConnectionPool(const ConnectionPool&) = delete;
  ConnectionPool& operator=(const ConnectionPool&) = delete;

  // Waits up to `longest_wait` for a place, then opens a session if none is idle. Falsy if there is no place or no
  // database. `fresh`: idle sessions are closed, they are as old as one that broke. Never throws.
  PooledConnection Borrow(bool fresh = false);

 private:
  void GiveBack(std::unique_ptr<Connection> connection);

  const std::string connection_string_;
  const SessionSettings settings_;
  Watchdog dog_;  // Before the sessions it watches.
  const int size_;
  const absl::Duration longest_wait_;
  std::mutex mutex_;
  std::condition_variable returned_;
  std::vector<std::unique_ptr<Connection>> idle_;  // The last one used is used next.
  int borrowed_ = 0;
};

}  // namespace latchkey::storage::postgres
