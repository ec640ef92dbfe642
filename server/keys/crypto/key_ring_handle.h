#pragma once

#include <atomic>
#include <utility>

#include "client/core/epochs.h"
#include "server/keys/crypto/key_ring.h"

namespace latchkey::keys {

// Published snapshot of the key ring: whoever uses the ring reads the present one through this, and another one can be
// published under a running server. Thread-safe; readers never wait (client/core/epochs.h).
class KeyRingHandle {
 public:
  explicit KeyRingHandle(KeyRing ring) : ring_(new KeyRing(std::move(ring))) {}
  ~KeyRingHandle() { core::Epochs::Retire(ring_.load()); }
  KeyRingHandle(const KeyRingHandle&) = delete;
  KeyRingHandle& operator=(const KeyRingHandle&) = delete;

  // The ring at one moment. Whoever uses it more than once for one thing does so through one Pin, so that all of it is
  // of one ring. Belongs to a thread, and is not to be kept over a wait.
  class Pin {
   public:
    explicit Pin(const KeyRingHandle& handle) : ring_(*handle.ring_.load()) {}
    const KeyRing& operator*() const { return ring_; }
    const KeyRing* operator->() const { return &ring_; }

   private:
    const core::Epochs::Pin pin_;  // Before the pointer is loaded.
    const KeyRing& ring_;
  };

  // Replaces the ring. What was made with the old one stays good as long as the new one holds its secrets.
  void Publish(KeyRing ring) { core::Epochs::Retire(ring_.exchange(new KeyRing(std::move(ring)))); }

 private:
  std::atomic<const KeyRing*> ring_;
};

}  // namespace latchkey::keys
