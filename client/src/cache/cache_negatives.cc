#include "client/src/cache/cache_negatives.h"

#include <memory>

#include "client/core/epochs.h"

namespace latchkey::client {
namespace {

auto Same(const core::Digest128& digest) {
  return [digest](const Negatives::Entry& entry) { return entry.digest == digest; };
}

}  // namespace

const Negatives::Entry* Negatives::Find(const core::Digest128& digest, const Kid& kid) const {
  const Entry* entry = table_.Find(digest.low, Same(digest));
  if (entry == nullptr || entry->revision < invalidated_[HashOfKid(kid) % invalidated_.size()].load()) return nullptr;
  return entry;
}

void Negatives::Put(const core::Digest128& digest, const Kid& kid, core::Decision decision, const Identity& identity,
                    int64_t revision, core::BootTime until) {
  if (capacity_ == 0 || revision < InvalidatedAt(kid).load()) return;
  while (oldest_first_.size() >= capacity_) {
    const Place oldest = oldest_first_.front();
    oldest_first_.pop_front();
    // A digest that was learnt again has a younger place too.
    if (table_.Find(oldest.digest.low, Same(oldest.digest)) == oldest.entry) Erase(oldest.digest);
  }
  auto entry = std::make_unique<Entry>();
  entry->digest = digest;
  entry->decision = decision;
  entry->identity = identity;
  entry->revision = revision;
  entry->until_ns = until.nanoseconds();
  oldest_first_.push_back({digest, entry.get()});
  if (const Entry* replaced = table_.Put(entry.release(), Same(digest))) core::Epochs::Retire(replaced);
}

void Negatives::Erase(const core::Digest128& digest) {
  if (const Entry* entry = table_.Erase(digest.low, Same(digest))) core::Epochs::Retire(entry);
}

void Negatives::InvalidateKey(const Kid& kid, int64_t revision) {
  std::atomic<int64_t>& at = InvalidatedAt(kid);
  if (at.load() < revision) at.store(revision);
}

void Negatives::Clear() {
  table_.Clear([](const Entry* entry) { core::Epochs::Retire(entry); });
  oldest_first_.clear();
  for (std::atomic<int64_t>& at : invalidated_) at.store(0);
}

size_t Negatives::memory_bytes() const {
  return table_.size() * (sizeof(Entry) + sizeof(size_t)) + oldest_first_.size() * sizeof(Place) +
         table_.memory_bytes();
}

}  // namespace latchkey::client
