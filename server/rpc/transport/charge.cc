#include "server/rpc/transport/charge.h"

#include <algorithm>

#include "server/base/errors.h"

namespace latchkey::rpc {
namespace {

bool TakeOne(std::atomic<size_t>& held, size_t limit, size_t more) {
  if (more == 0) return true;
  size_t before = held.load(std::memory_order_relaxed);
  do {
    if (before >= limit || more > limit - before) return false;
  } while (!held.compare_exchange_weak(before, before + more, std::memory_order_relaxed));
  return true;
}

}  // namespace

bool Account::HasRoomFor(Amount amount) const {
  const Amount now = held();
  return now.places + amount.places <= limit_.places && now.bytes + amount.bytes <= limit_.bytes;
}

bool Account::Take(Amount amount) {
  if (!TakeOne(places_, limit_.places, amount.places)) return false;
  if (TakeOne(bytes_, limit_.bytes, amount.bytes)) {
    if (parent_ == nullptr || parent_->Take(amount)) return true;
    bytes_.fetch_sub(amount.bytes, std::memory_order_relaxed);
  }
  places_.fetch_sub(amount.places, std::memory_order_relaxed);
  return false;
}

void Account::TakeBeyondLimit(Amount amount) {
  places_.fetch_add(amount.places, std::memory_order_relaxed);
  bytes_.fetch_add(amount.bytes, std::memory_order_relaxed);
  if (parent_ != nullptr) parent_->TakeBeyondLimit(amount);
}

void Account::GiveBack(Amount amount) {
  places_.fetch_sub(amount.places, std::memory_order_relaxed);
  bytes_.fetch_sub(amount.bytes, std::memory_order_relaxed);
  if (parent_ != nullptr) parent_->GiveBack(amount);
}

absl::StatusOr<Charge> Charge::Take(std::shared_ptr<Account> account, Amount amount) {
  if (!account->Take(amount)) return errors::WorkersBusy(kFullRetryAfter);
  return Charge(std::move(account), amount);
}

Charge Charge::TakeBeyondLimit(std::shared_ptr<Account> account, Amount amount) {
  account->TakeBeyondLimit(amount);
  return Charge(std::move(account), amount);
}

Charge& Charge::operator=(Charge&& other) noexcept {
  if (this == &other) return *this;
  Release();
  account_ = std::move(other.account_);
  held_ = std::exchange(other.held_, {});
  return *this;
}

void Charge::Add(Charge more) {
  if (account_ != more.account_) {
    *this = std::move(more);
    return;
  }
  const Amount added = std::exchange(more.held_, {});
  held_.places += added.places;
  held_.bytes += added.bytes;
}

void Charge::GiveBack(Amount amount) {
  if (account_ == nullptr) return;
  const Amount part{std::min(amount.places, held_.places), std::min(amount.bytes, held_.bytes)};
  held_.places -= part.places;
  held_.bytes -= part.bytes;
  account_->GiveBack(part);
}

std::shared_ptr<Account> AccountsByName::Of(const std::string& name) {
  const std::lock_guard lock(mutex_);
  std::shared_ptr<Account>& account = accounts_[name];
  if (account != nullptr) return account;
  account = std::make_shared<Account>(each_, parent_);
  std::shared_ptr<Account> made = account;
  if (accounts_.size() >= tidy_at_) {
    // Nobody else has those, so nothing is charged to them.
    absl::erase_if(accounts_, [](const auto& entry) { return entry.second.use_count() == 1; });
    tidy_at_ = std::max<size_t>(1024, 2 * accounts_.size());
  }
  return made;
}

}  // namespace latchkey::rpc
