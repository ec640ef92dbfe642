#pragma once

#include <array>
#include <cstddef>
#include <cstring>
#include <deque>
#include <mutex>
#include <unordered_map>

#include "absl/time/time.h"
#include "server/base/clock.h"
#include "server/model/records.h"

namespace latchkey::keys {

// A proof's bytes are a MAC's: any eight of them are a good hash that nobody without the key ring can steer.
struct ProofHash {
  size_t operator()(const Proof& proof) const {
    size_t hash = 0;
    std::memcpy(&hash, proof.digest.data(), sizeof(hash));
    return hash;
  }
};

// Names of key strings that were found wrong a short while ago, so that presenting one again costs a look-up. Bounded:
// the oldest are forgotten first. Thread-safe; a look-up excludes only those of the same of 16 parts.
class NegativeCache {
 public:
  // At most about `capacity` names, each for `ttl`.
  NegativeCache(size_t capacity, absl::Duration ttl);

  bool Contains(const Proof& name, base::BootTime now) const;
  void Add(const Proof& name, base::BootTime now);
  // Those that are kept, also if their time is over.
  size_t size() const;

 private:
  struct Part {
    mutable std::mutex mutex;
    std::unordered_map<Proof, base::BootTime, ProofHash> added;
    std::deque<std::pair<Proof, base::BootTime>> by_age;  // May hold a name more than once; its last one counts.
  };
  Part& PartOf(const Proof& name) { return parts_[static_cast<unsigned char>(name.digest[15]) % parts_.size()]; }
  const Part& PartOf(const Proof& name) const { return const_cast<NegativeCache*>(this)->PartOf(name); }

  const size_t capacity_;  // Of a part.
  const absl::Duration ttl_;
  std::array<Part, 16> parts_;
};

}  // namespace latchkey::keys
