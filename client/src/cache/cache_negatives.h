#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>

#include "client/core/clock.h"
#include "client/core/decision.h"
#include "client/core/published_table.h"
#include "client/core/siphash.h"
#include "client/src/identity/identity_block.h"
#include "latchkey/verifier.h"

namespace latchkey::client {

// Negative cache: denied key strings, for a short time; the oldest are evicted (FIFO). Found by the keyed digest alone,
// because strangers choose these strings: no two of them can be made to collide. Find and size are for any thread, the
// rest for one at a time.
class Negatives {
 public:
  struct Entry {
    core::Digest128 digest;
    core::Decision decision = core::Decision::kUnspecified;
    Identity identity;
    int64_t revision = 0;
    int64_t until_ns = 0;
    uint64_t hash() const { return digest.low; }
  };

  explicit Negatives(size_t capacity) : capacity_(capacity) {}
  ~Negatives() { Clear(); }

  // Pinned (core::Epochs). nullptr if there is none, or the key was invalidated since. The caller compares the time.
  const Entry* Find(const core::Digest128& digest, const Kid& kid) const;
  void Put(const core::Digest128& digest, const Kid& kid, core::Decision decision, const Identity& identity,
           int64_t revision, core::BootTime until);
  void Erase(const core::Digest128& digest);
  // Entries of that key from before `revision` don't hold any more; now and then those of another key go with them.
  void InvalidateKey(const Kid& kid, int64_t revision);
  void Clear();

  size_t size() const { return table_.size(); }
  size_t memory_bytes() const;

 private:
  struct Place {
    core::Digest128 digest;
    const Entry* entry;
  };
  // Strings of one key can be many and made up: an index by key would be a list that strangers make long.
  std::atomic<int64_t>& InvalidatedAt(const Kid& kid) { return invalidated_[HashOfKid(kid) % invalidated_.size()]; }

  const size_t capacity_;
  core::PublishedTable<Entry> table_;
  std::deque<Place> oldest_first_;  // Some are no longer in the table.
  std::array<std::atomic<int64_t>, 1024> invalidated_{};
};

}  // namespace latchkey::client
