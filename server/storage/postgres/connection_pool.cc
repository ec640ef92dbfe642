#include "server/storage/postgres/connection_pool.h"

#include <utility>

namespace latchkey::storage::postgres {

ConnectionPool::PooledConnection::PooledConnection(PooledConnection&& other) noexcept { *this = std::move(other); }

ConnectionPool::PooledConnection& ConnectionPool::PooledConnection::operator=(PooledConnection&& other) noexcept {
  if (this == &other) return *this;
  Return();
  pool_ = std::exchange(other.pool_, nullptr);
  connection_ = std::move(other.connection_);
  fresh_ = other.fresh_;
  drop_ = other.drop_;
  return *this;
}

ConnectionPool::PooledConnection::~PooledConnection() { Return(); }

void ConnectionPool::PooledConnection::Return() {
  if (pool_ == nullptr) return;
  if (drop_) connection_.reset();
  std::exchange(pool_, nullptr)->GiveBack(std::move(connection_));
}

ConnectionPool::ConnectionPool(std::string connection_string, SessionSettings settings, int size,
                               absl::Duration longest_wait)
    : connection_string_(std::move(connection_string)),
      settings_(settings),
      dog_(settings.statement_timeout + absl::Seconds(1)),
      size_(size),
      longest_wait_(longest_wait) {}

ConnectionPool::PooledConnection ConnectionPool::Borrow(bool fresh) {
  PooledConnection lease;
  // Closing a session talks to the server: not under the lock.
  std::vector<std::unique_ptr<Connection>> closing;
  {
    std::unique_lock lock(mutex_);
    if (fresh) closing.swap(idle_);
    if (!returned_.wait_for(lock, absl::ToChronoNanoseconds(longest_wait_), [this] { return borrowed_ < size_; })) {
      return lease;
    }
    ++borrowed_;
    lease.pool_ = this;
    while (!fresh && !idle_.empty() && lease.connection_ == nullptr) {
      std::unique_ptr<Connection> candidate = std::move(idle_.back());
      idle_.pop_back();
      if (candidate->stale()) {
        closing.push_back(std::move(candidate));
      } else {
        lease.connection_ = std::move(candidate);
      }
    }
  }
  closing.clear();
  if (lease.connection_ != nullptr) return lease;
  try {
    lease.connection_ = std::make_unique<Connection>(connection_string_, settings_, &dog_);
    lease.fresh_ = true;
    return lease;
  } catch (...) {
    return PooledConnection();  // The destructor of `lease` gives the place back.
  }
}

void ConnectionPool::GiveBack(std::unique_ptr<Connection> connection) {
  std::unique_ptr<Connection> closing;
  {
    const std::lock_guard lock(mutex_);
    --borrowed_;
    if (connection != nullptr && connection->open()) {
      idle_.push_back(std::move(connection));
    } else {
      closing = std::move(connection);
    }
  }
  returned_.notify_one();
}

}  // namespace latchkey::storage::postgres
