#include "client/core/epochs.h"

#include <algorithm>
#include <deque>
#include <limits>
#include <mutex>
#include <vector>

namespace latchkey::core {
namespace {

// Why nothing is deleted under a reader. All of these are sequentially consistent, so they lie in one total order:
//   reader:  e = epoch.load; slot.exchange(e); loads of pointers
//   writer:  the store that unlinks; r = epoch.fetch_add(1); loads of all slots; deletion if r < e for every pinned one
// Take a reader that is not noticed by the loads of the slots, or noticed with r < e.
// - Its exchange comes after the writer's load of its slot: its pointers are loaded later still, after the unlinking.
// - Or e > r: it loaded the epoch after the fetch_add, so its pointers are loaded after the unlinking.
// Either way it cannot reach the object. A slot that the writer does not find in the list was pushed, and so exchanged,
// after the writer read the list: the first case.
// What an earlier pin of the slot read happens before the deletion: the writer reads 0 from the store that released it,
// or a later exchange of the same thread.

constexpr uint64_t kNotPinned = 0;
constexpr int kRetiresPerCollection = 64;

// Alone on its cache line: its thread writes it at every pin.
struct alignas(64) Slot {
  std::atomic<uint64_t> epoch{kNotPinned};
  std::atomic<bool> taken{true};
  Slot* next = nullptr;
};

// Both are constant-initialised: pins may be made before main and after it. The epoch is read at every pin and has a
// line of its own.
alignas(64) constinit std::atomic<uint64_t> epoch{1};
alignas(64) constinit std::atomic<Slot*> slots{nullptr};

struct ThreadState {
  Slot* slot = nullptr;
  int depth = 0;
  bool ending = false;
  bool collecting = false;
};
// Without a destructor, so that reading it needs no guard; ThreadEnd has the destructor.
constinit thread_local ThreadState thread_state;

void ReleaseSlot() {
  thread_state.slot->taken.store(false, std::memory_order_release);
  thread_state.slot = nullptr;
}

struct ThreadEnd {
  ~ThreadEnd() {
    thread_state.ending = true;  // Destructors that run after this one may still pin: they return the slot each time.
    if (thread_state.depth == 0 && thread_state.slot != nullptr) ReleaseSlot();
  }
  void Register() {}
};
thread_local ThreadEnd thread_end;

Slot* TakeSlot() {
  for (Slot* slot = slots.load(); slot != nullptr; slot = slot->next) {
    if (!slot->taken.load(std::memory_order_relaxed) && !slot->taken.exchange(true)) return slot;
  }
  Slot* slot = new Slot;  // Never deleted: collections walk the list without a lock.
  slot->next = slots.load();
  while (!slots.compare_exchange_weak(slot->next, slot)) {
  }
  return slot;
}

[[gnu::noinline]] void EnterWithoutSlot() {
  if (!thread_state.ending) thread_end.Register();
  thread_state.slot = TakeSlot();
}

struct Retired {
  void* object;
  void (*destroy)(void*);
  uint64_t epoch;
};

struct RetireList {
  std::mutex mutex;
  std::deque<Retired> retired;  // Guarded by mutex; in the order of their epochs.
  int since_collection = 0;     // Guarded by mutex.
  std::atomic<size_t> pending{0};
};

RetireList& List() {
  static RetireList& list = *new RetireList;  // Leaked: threads may retire while statics are destroyed.
  return list;
}

// Takes out what no reader can be using.
std::vector<Retired> TakeUnreachable(RetireList& list) {
  std::vector<Retired> taken;
  const std::lock_guard lock(list.mutex);
  list.since_collection = 0;
  uint64_t oldest = std::numeric_limits<uint64_t>::max();
  for (const Slot* slot = slots.load(); slot != nullptr; slot = slot->next) {
    const uint64_t pinned = slot->epoch.load();
    if (pinned != kNotPinned) oldest = std::min(oldest, pinned);
  }
  while (!list.retired.empty() && list.retired.front().epoch < oldest) {
    taken.push_back(list.retired.front());
    list.retired.pop_front();
  }
  return taken;
}

}  // namespace

Epochs::Pin::Pin() {
  ThreadState& state = thread_state;
  if (state.depth++ != 0) return;
  if (state.slot == nullptr) EnterWithoutSlot();
  state.slot->epoch.exchange(epoch.load());
}

Epochs::Pin::~Pin() {
  ThreadState& state = thread_state;
  if (--state.depth != 0) return;
  state.slot->epoch.store(kNotPinned, std::memory_order_release);
  if (state.ending) ReleaseSlot();
}

void Epochs::RetireRaw(void* object, void (*destroy)(void*)) {
  RetireList& list = List();
  bool collect = false;
  {
    const std::lock_guard lock(list.mutex);
    list.retired.push_back({object, destroy, epoch.fetch_add(1)});
    list.pending.fetch_add(1, std::memory_order_relaxed);
    collect = ++list.since_collection >= kRetiresPerCollection;
  }
  if (collect) Collect();
}

void Epochs::Collect() {
  // A destructor that retires must not recurse: a long chain would end the stack.
  if (thread_state.collecting) return;
  thread_state.collecting = true;
  RetireList& list = List();
  for (const Retired& retired : TakeUnreachable(list)) {
    retired.destroy(retired.object);
    list.pending.fetch_sub(1, std::memory_order_relaxed);
  }
  thread_state.collecting = false;
}

size_t Epochs::Pending() { return List().pending.load(std::memory_order_relaxed); }

}  // namespace latchkey::core
