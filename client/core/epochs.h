#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace latchkey::core {

// Epoch-based memory reclamation (Fraser, "Practical lock-freedom", 2004): readers use objects that a writer replaces
// under them, without a lock and without a counter that they share. A reader pins; what it reaches through an
// atomic pointer stays valid until it unpins. A writer unlinks an object, then retires it: it is deleted once every
// reader that was pinned at that moment has unpinned.
//
// Readers load the pointers, and writers store them, with the default (sequentially consistent) order: that order is
// what the proof (epochs.cc) rests on, and on x86 it costs readers nothing.
//
// Thread-safe. One domain serves the whole process; any number of threads, each takes a slot at its first pin and gives
// it back when it ends. What is still retired when the process ends is not deleted.
class Epochs {
 public:
  // A pinned moment. Belongs to the thread that made it, is cheap (one exchange, one store; nested ones a count) and
  // must be short: what is retired while it lives cannot be deleted before it ends. Not to be kept over a wait.
  class Pin {
   public:
    Pin();
    ~Pin();
    Pin(const Pin&) = delete;
    Pin& operator=(const Pin&) = delete;
  };

  // Deletes `object` once nobody can be using it, on this thread or on a later caller's. It must have been unlinked
  // before. Never waits for readers. The destructor may retire more, not wait for another thread that retires.
  template <typename T>
  static void Retire(const T* object) {
    RetireRaw(const_cast<void*>(static_cast<const void*>(object)),
              [](void* pointer) { delete static_cast<T*>(pointer); });
  }
  // The same with a deleter; not nullptr.
  static void RetireRaw(void* object, void (*destroy)(void*));

  // Deletes what can be deleted now; what the destructors retire, a later call. Retire does so too, once in 64 calls; a
  // writer that retires rarely but large things calls this.
  static void Collect();

  // Retired and not deleted yet; for tests and metrics. Any thread.
  static size_t Pending();
};

}  // namespace latchkey::core
