#include "server/keys/verify/negative_cache.h"

#include <algorithm>

namespace latchkey::keys {

NegativeCache::NegativeCache(size_t capacity, absl::Duration ttl)
    : capacity_(std::max<size_t>(1, capacity / 16)), ttl_(ttl) {}

bool NegativeCache::Contains(const Proof& name, base::BootTime now) const {
  const Part& part = PartOf(name);
  const std::lock_guard<std::mutex> lock(part.mutex);
  const auto found = part.added.find(name);
  return found != part.added.end() && now - found->second < ttl_;
}

void NegativeCache::Add(const Proof& name, base::BootTime now) {
  Part& part = PartOf(name);
  const std::lock_guard<std::mutex> lock(part.mutex);
  part.added[name] = now;
  part.by_age.emplace_back(name, now);
  while (!part.by_age.empty()) {
    const auto& [oldest, at] = part.by_age.front();
    if (part.by_age.size() <= capacity_ && now - at < ttl_) break;
    const auto found = part.added.find(oldest);
    if (found != part.added.end() && found->second == at) part.added.erase(found);
    part.by_age.pop_front();
  }
}

size_t NegativeCache::size() const {
  size_t size = 0;
  for (const Part& part : parts_) {
    const std::lock_guard<std::mutex> lock(part.mutex);
    size += part.added.size();
  }
  return size;
}

}  // namespace latchkey::keys
