#include "server/rpc/transport/connections.h"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "server/base/clock.h"
#include "server/base/log.h"

namespace latchkey::rpc {
namespace {

constexpr size_t kUnlimited = ~size_t{0} / 2;

bool IsMore(const Amount& one, const Amount& other) {
  return one.bytes != other.bytes ? one.bytes > other.bytes : one.places > other.places;
}

}  // namespace

Connection::Connection(uint64_t serial, int descriptor, size_t calls,
                       std::array<std::shared_ptr<Account>, kAnonymousClasses> of, std::shared_ptr<Counter> ending)
    : serial_(serial),
      descriptor_(descriptor),
      calls_(std::make_shared<Account>(Amount{calls, kUnlimited})),
      anonymous_(std::move(of)),
      ending_(std::move(ending)) {}

Connection::~Connection() {
  if (descriptor_ >= 0) close(descriptor_);
}

bool Connection::Shut() {
  std::vector<std::function<void()>> cancel;
  {
    const std::lock_guard lock(mutex_);
    if (descriptor_ >= 0) {
      if (shut_.exchange(true)) return false;
      shutdown(descriptor_, SHUT_RDWR);
      *ending_ += open_.size();
    }
    for (const OpenCall* const call : open_) cancel.push_back(call->Canceller());
  }
  // Without the lock: a call may end meanwhile.
  for (const std::function<void()>& one : cancel) one();
  return true;
}

void Connection::AddCall(const OpenCall& call) {
  const std::lock_guard lock(mutex_);
  if (open_.insert(&call).second && shut_) ++*ending_;
}

void Connection::RemoveCall(const OpenCall& call) {
  const std::lock_guard lock(mutex_);
  if (open_.erase(&call) > 0 && shut_) --*ending_;
}

Connections::Connections(const ConnectionLimits& limits) : limits_(limits) {
  for (size_t of = 0; of < kAnonymousClasses; ++of) process_[of] = std::make_shared<Account>(limits.process[of]);
}

std::shared_ptr<Connection> Connections::MakeLocked(const std::string& name, int descriptor) {
  std::array<std::shared_ptr<Account>, kAnonymousClasses> accounts;
  for (size_t of = 0; of < kAnonymousClasses; ++of) {
    accounts[of] = std::make_shared<Account>(limits_.connection[of], process_[of]);
  }
  auto made = std::make_shared<Connection>(++last_serial_, descriptor, limits_.calls, std::move(accounts), ending_);
  by_name_[name] = made;
  if (by_name_.size() >= tidy_at_) {
    absl::erase_if(by_name_, [](const auto& entry) { return entry.second.expired(); });
    tidy_at_ = std::max<size_t>(1024, 2 * by_name_.size());
  }
  return made;
}

std::shared_ptr<Connection> Connections::Add(const std::string& name, int descriptor) {
  const std::lock_guard lock(mutex_);
  return MakeLocked(name, descriptor);
}

std::shared_ptr<Connection> Connections::Of(const std::string& name) {
  const std::lock_guard lock(mutex_);
  const auto found = by_name_.find(name);
  if (found != by_name_.end()) {
    if (std::shared_ptr<Connection> known = found->second.lock()) return known;
  }
  return MakeLocked(name, -1);
}

std::shared_ptr<Connection> Connections::LargestHolder(AnonymousClass of, const Connection& connection, Amount amount,
                                                       bool* fits) {
  const std::lock_guard lock(mutex_);
  std::shared_ptr<Connection> largest;
  Amount own = connection.account(of)->held();
  own.bytes += amount.bytes;
  own.places += amount.places;
  Amount most = connection.proven() ? Amount{} : own;
  Amount alive = amount;
  for (const auto& [name, weak] : by_name_) {
    std::shared_ptr<Connection> one = weak.lock();
    if (one == nullptr || one->is_shut()) continue;
    const Amount held = one->account(of)->held();
    alive.bytes += held.bytes;
    alive.places += held.places;
    if (one->proven() || one.get() == &connection || !IsMore(held, most)) continue;
    most = held;
    largest = std::move(one);
  }
  if (largest == nullptr && connection.proven()) {
    most = own;
    for (const auto& [name, weak] : by_name_) {
      std::shared_ptr<Connection> one = weak.lock();
      if (one == nullptr || one->is_shut() || !IsMore(one->account(of)->held(), most)) continue;
      most = one->account(of)->held();
      largest = std::move(one);
    }
  }
  const Amount limit = process_[static_cast<size_t>(of)]->limit();
  *fits = alive.places <= limit.places && alive.bytes <= limit.bytes;
  return *fits ? nullptr : largest;
}

absl::StatusOr<Charge> Connections::Take(AnonymousClass of, const std::shared_ptr<Connection>& connection,
                                         Amount amount) {
  const std::shared_ptr<Account>& account = connection->account(of);
  absl::StatusOr<Charge> taken = Charge::Take(account, amount);
  if (taken.ok() || !account->HasRoomFor(amount)) return taken;
  bool fits = false;
  const std::shared_ptr<Connection> largest = LargestHolder(of, *connection, amount, &fits);
  if (largest == nullptr && !fits) return taken;
  if (largest != nullptr && largest->Shut()) {
    if (const std::optional<int64_t> left_out = shuts_.Take(base::SystemClock().BootNow())) {
      log::Info("connection closed: it held more than others without authentication",
                {{"connection", largest->serial()},
                 {"bytes", largest->account(of)->held().bytes},
                 {"left_out_before", *left_out}});
    }
  }
  return Charge::TakeBeyondLimit(account, amount);
}

}  // namespace latchkey::rpc
