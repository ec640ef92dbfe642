#include "client/src/cache/cache_tombstones.h"

#include <algorithm>

namespace latchkey::client {
namespace {

// Tells whether it is news.
template <typename Map, typename Key>
bool Raise(Map& map, const Key& key, int64_t revision) {
  int64_t& there = map[key];
  if (revision <= there) return false;
  there = revision;
  return true;
}

template <typename Map, typename Key>
bool Overrides(const Map& map, const Key& key, int64_t revision) {
  const auto found = map.find(key);
  return found != map.end() && found->second > revision;
}

// Returns the revision that is no longer known, 0 if nothing was lost.
template <typename Map, typename Queue>
int64_t ForgetOldest(Map& map, Queue& queue) {
  const auto oldest = std::move(queue.front());
  queue.pop_front();
  const auto found = map.find(oldest.key);
  if (found == map.end() || found->second != oldest.revision) return 0;  // A newer one took its place.
  map.erase(found);
  return oldest.revision;
}

}  // namespace

void Tombstones::AddKey(const Kid& kid, int64_t revision) {
  if (!Raise(keys_, kid, revision)) return;
  added_keys_.push_back({kid, revision});
  Limit();
}

void Tombstones::AddName(const std::string& name, int64_t revision) {
  if (!Raise(names_, name, revision)) return;
  added_names_.push_back({name, revision});
  Limit();
}

bool Tombstones::OverridesKey(const Kid& kid, int64_t revision) const { return Overrides(keys_, kid, revision); }

bool Tombstones::OverridesName(const std::string& name, int64_t revision) const {
  return Overrides(names_, name, revision);
}

void Tombstones::Limit() {
  while (added_keys_.size() + added_names_.size() > limit_) {
    const bool key_is_older =
        added_names_.empty() || (!added_keys_.empty() && added_keys_.front().revision <= added_names_.front().revision);
    const int64_t lost = key_is_older ? ForgetOldest(keys_, added_keys_) : ForgetOldest(names_, added_names_);
    forgotten_ = std::max(forgotten_, lost);
  }
}

void Tombstones::Clear() {
  keys_.clear();
  names_.clear();
  added_keys_.clear();
  added_names_.clear();
  forgotten_ = 0;
}

size_t Tombstones::memory_bytes() const {
  // A node, its bucket and its place in the queue.
  constexpr size_t kOfKey = 48 + 8 + sizeof(Added<Kid>);
  constexpr size_t kOfName = 64 + 8 + sizeof(Added<std::string>);
  return added_keys_.size() * kOfKey + added_names_.size() * kOfName;
}

}  // namespace latchkey::client
