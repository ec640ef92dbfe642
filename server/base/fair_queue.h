#pragma once

#include <algorithm>
#include <cstddef>
#include <deque>
#include <iterator>
#include <list>
#include <optional>
#include <string>
#include <utility>

#include "absl/container/flat_hash_map.h"

namespace latchkey::base {

// Fair queue: bounded, served round robin over its shares, full at the cost of the longest. Each item belongs to a
// share (whoever asked for the work). While one share alone has items it may fill the queue; an item of another share
// then takes the place of the newest item of the share that has most, so that n shares that want places have an n-th of
// them each. Not thread-safe.
template <typename T>
class FairQueue {
 public:
  // `limit`: items that wait. `running_limit`: items of one share between Pop and Done.
  FairQueue(size_t limit, int running_limit) : limit_(limit), running_limit_(running_limit) {}

  // Puts `item` behind those of its share. Returns what has no place in a full queue: an item of a longer share, else
  // `item` itself; nullopt = all have one.
  [[nodiscard]] std::optional<T> Push(const std::string& share, T item) {
    std::optional<T> dropped;
    if (size_ >= limit_) {
      const auto own = waiting_of_.find(share);
      const size_t own_count = own == waiting_of_.end() ? 0 : own->second->items.size();
      const auto longest = std::max_element(waiting_.begin(), waiting_.end(), [](const Share& a, const Share& b) {
        return a.items.size() < b.items.size();
      });
      // Of two that are as long, none takes from the other.
      if (longest == waiting_.end() || longest->items.size() <= own_count + 1) return item;
      dropped = std::move(longest->items.back());
      longest->items.pop_back();
      --size_;
    }
    const auto [place, is_new] = waiting_of_.try_emplace(share);
    if (is_new) place->second = waiting_.insert(waiting_.end(), Share{share, {}});
    place->second->items.push_back(std::move(item));
    ++size_;
    return dropped;
  }

  struct Popped {
    std::string share;
    T item;
  };
  // The next item, which runs until Done: of the share that has the fewest running, and of several such the one whose
  // turn is longest ago. nullopt if none waits, or each that has one waiting has as many running as it may.
  std::optional<Popped> Pop() {
    const auto next = Next();
    if (next == waiting_.end()) return std::nullopt;
    Popped popped{next->name, std::move(next->items.front())};
    next->items.pop_front();
    --size_;
    ++running_[popped.share];
    if (next->items.empty()) {
      waiting_of_.erase(popped.share);
      waiting_.erase(next);
    } else {
      waiting_.splice(waiting_.end(), waiting_, next);
    }
    return popped;
  }
  // The end of an item of `share` that was popped.
  void Done(const std::string& share) {
    const auto found = running_.find(share);
    if (--found->second == 0) running_.erase(found);
  }

  // Whether Pop would return an item.
  bool has_next() const { return Next() != waiting_.end(); }
  bool empty() const { return size_ == 0; }
  size_t size() const { return size_; }

 private:
  // A share with items that wait; in the order of their turns.
  struct Share {
    std::string name;
    std::deque<T> items;
  };
  using Shares = std::list<Share>;

  int RunningOf(const std::string& share) const {
    const auto found = running_.find(share);
    return found == running_.end() ? 0 : found->second;
  }
  typename Shares::iterator Next() const {
    auto next = waiting_.end();
    int fewest = running_limit_;
    for (auto share = waiting_.begin(); share != waiting_.end() && fewest > 0; ++share) {
      const int running = RunningOf(share->name);
      if (running >= fewest) continue;
      fewest = running;
      next = share;
    }
    return next;
  }

  const size_t limit_;
  const int running_limit_;
  size_t size_ = 0;
  mutable Shares waiting_;  // mutable: an iterator into it is what both Next and Pop want.
  absl::flat_hash_map<std::string, typename Shares::iterator> waiting_of_;
  absl::flat_hash_map<std::string, int> running_;  // Without those of which none runs.
};

}  // namespace latchkey::base
