#include "client/src/cache/thread_lane.h"

#include <array>

namespace latchkey::client {
namespace {

// Constant-initialised and never destroyed: threads may count before main and after it.
constinit std::array<std::atomic<bool>, ThreadLane::kOwn> taken{};
constinit std::atomic<uint32_t> sharers{0};

}  // namespace

struct ThreadLane::ThreadEnd {
  ~ThreadEnd() {
    const uint32_t lane = mine;
    mine = NextShared();  // Destructors that run after this one may still count.
    taken[lane].store(false, std::memory_order_release);
  }
};

uint32_t ThreadLane::NextShared() { return kOwn + sharers.fetch_add(1, std::memory_order_relaxed) % kShared; }

[[gnu::noinline]] uint32_t ThreadLane::Take() {
  for (uint32_t lane = 0; lane < kOwn; ++lane) {
    // Acquire: the numbers of the lane are as its last thread left them.
    if (taken[lane].load(std::memory_order_relaxed) || taken[lane].exchange(true, std::memory_order_acquire)) continue;
    mine = lane;
    [[maybe_unused]] thread_local const ThreadEnd thread_end;
    return lane;
  }
  return mine = NextShared();
}

}  // namespace latchkey::client
