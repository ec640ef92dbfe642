#include "client/core/epochs.h"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <latch>
#include <memory>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

namespace latchkey::core {
namespace {

// Counts its own kind; a use after the end shows in Intact().
class Tracked {
 public:
  explicit Tracked(std::atomic<int>& deleted) : deleted_(deleted) {}
  ~Tracked() {
    mark_ = kPoison;
    deleted_.fetch_add(1);
  }
  bool Intact() const { return mark_ == kMark; }

 private:
  static constexpr uint64_t kMark = 0x600DF00D600DF00D;
  static constexpr uint64_t kPoison = 0xDEADDEADDEADDEAD;
  // Volatile: the compiler may drop stores to what is being destroyed.
  volatile uint64_t mark_ = kMark;
  std::atomic<int>& deleted_;
};

void RetireOne(std::atomic<int>& deleted) { Epochs::Retire(new Tracked(deleted)); }

// Another thread that is pinned from the constructor's end to Unpin.
class PinnedThread {
 public:
  PinnedThread()
      : thread_([this] {
          const Epochs::Pin pin;
          pinned_.count_down();
          release_.wait();
        }) {
    pinned_.wait();
  }
  ~PinnedThread() { Unpin(); }
  void Unpin() {
    if (!thread_.joinable()) return;
    release_.count_down();
    thread_.join();
  }

 private:
  std::latch pinned_{1};
  std::latch release_{1};
  std::thread thread_;
};

TEST(Epochs, WhatNobodyIsPinnedForIsDeletedByCollect) {
  std::atomic<int> deleted = 0;
  RetireOne(deleted);
  Epochs::Collect();
  EXPECT_EQ(deleted, 1);
}

TEST(Epochs, AReaderPinnedBeforeTheRetirementKeepsTheObject) {
  std::atomic<int> deleted = 0;
  PinnedThread reader;
  RetireOne(deleted);
  Epochs::Collect();
  EXPECT_EQ(deleted, 0);
  EXPECT_GE(Epochs::Pending(), 1u);
  reader.Unpin();
  Epochs::Collect();
  EXPECT_EQ(deleted, 1);
}

TEST(Epochs, AReaderPinnedAfterTheRetirementDoesNotKeepTheObject) {
  std::atomic<int> deleted = 0;
  RetireOne(deleted);
  const PinnedThread reader;
  Epochs::Collect();
  EXPECT_EQ(deleted, 1);
}

TEST(Epochs, TheEarliestOfSeveralReadersDecides) {
  for (int round = 0; round < 3; ++round) {  // The first makes slots; later ones take them in another order.
    std::atomic<int> deleted = 0;
    PinnedThread early;
    RetireOne(deleted);
    PinnedThread late;
    RetireOne(deleted);
    Epochs::Collect();
    EXPECT_EQ(deleted, 0);
    early.Unpin();
    Epochs::Collect();
    EXPECT_EQ(deleted, 1);
    late.Unpin();
    Epochs::Collect();
    EXPECT_EQ(deleted, 2);
  }
}

TEST(Epochs, TheCallersOwnPinKeepsTheObjectToo) {
  std::atomic<int> deleted = 0;
  {
    const Epochs::Pin pin;
    RetireOne(deleted);
    Epochs::Collect();
    EXPECT_EQ(deleted, 0);
  }
  Epochs::Collect();
  EXPECT_EQ(deleted, 1);
}

TEST(Epochs, ANestedPinEndsWithTheOutermost) {
  std::atomic<int> deleted = 0;
  auto outer = std::make_unique<Epochs::Pin>();
  RetireOne(deleted);
  { const Epochs::Pin inner; }
  Epochs::Collect();
  EXPECT_EQ(deleted, 0);
  outer.reset();
  Epochs::Collect();
  EXPECT_EQ(deleted, 1);
}

TEST(Epochs, RetireCollectsInBatchesByItself) {
  std::atomic<int> deleted = 0;
  for (int i = 0; i < 1000; ++i) RetireOne(deleted);
  EXPECT_GE(deleted, 1000 - 64);
  Epochs::Collect();
  EXPECT_EQ(deleted, 1000);
}

TEST(Epochs, PendingCountsWhatIsNotDeleted) {
  std::atomic<int> deleted = 0;
  Epochs::Collect();
  const size_t before = Epochs::Pending();
  {
    const Epochs::Pin pin;
    for (int i = 0; i < 100; ++i) RetireOne(deleted);
    EXPECT_EQ(Epochs::Pending(), before + 100);
  }
  Epochs::Collect();
  EXPECT_EQ(Epochs::Pending(), before);
}

// Retires the next one when it is destroyed.
struct Chained {
  Chained(int how_many_more, std::atomic<int>& counts) : left(how_many_more), deleted(counts) {}
  int left;
  std::atomic<int>& deleted;
  ~Chained() {
    deleted.fetch_add(1);
    if (left == 0) return;
    Epochs::Retire(std::make_unique<Chained>(left - 1, deleted).release());
    Epochs::Collect();
  }
};

TEST(Epochs, ADestructorMayRetireMoreWithoutDeadlockOrRecursion) {
  constexpr int kChain = 100'000;
  std::atomic<int> deleted = 0;
  Epochs::Retire(new Chained{kChain, deleted});
  for (int calls = 0; deleted <= kChain && calls < 2 * kChain; ++calls) Epochs::Collect();
  EXPECT_EQ(deleted, kChain + 1);
}

TEST(Epochs, AThreadThatEndedHoldsNothingBack) {
  std::atomic<int> deleted = 0;
  for (int i = 0; i < 50; ++i) std::thread([] { const Epochs::Pin pin; }).join();
  RetireOne(deleted);
  Epochs::Collect();
  EXPECT_EQ(deleted, 1);
}

struct RunsAtTheEnd {
  ~RunsAtTheEnd() {
    if (work) work();
  }
  std::function<void()> work;
};

// A thread that does `work` while its thread-locals are destroyed, the record of its slot already gone: there every pin
// takes a slot and gives it back.
std::thread EndingThread(std::function<void()> work) {
  return std::thread([work = std::move(work)]() mutable {
    thread_local RunsAtTheEnd at_the_end;  // Destroyed after everything that its thread makes later.
    at_the_end.work = std::move(work);
    const Epochs::Pin pin;
  });
}

TEST(Epochs, AThreadMayPinWhileItsThreadLocalsAreDestroyed) {
  std::atomic<int> deleted = 0;
  std::atomic<bool> kept = true;
  EndingThread([&] {
    for (int i = 0; i < 3; ++i) {
      const Epochs::Pin pin;
      RetireOne(deleted);
      Epochs::Collect();
      kept = kept && deleted == i;
    }
  }).join();
  EXPECT_TRUE(kept);
  Epochs::Collect();
  EXPECT_EQ(deleted, 3);
}

// Where two threads go on at the same time.
class Meeting {
 public:
  void Meet() {
    const int all = (arrived_.fetch_add(1) / 2 + 1) * 2;
    for (int looks = 0; arrived_.load() < all; ++looks) {
      if (looks > 1000) std::this_thread::yield();
    }
  }

 private:
  std::atomic<int> arrived_ = 0;
};

// Takes a moment, the longer the more `steps`.
void Dawdle(int steps) {
  std::atomic<int> idle = 0;
  for (int i = 0; i < steps; ++i) idle.fetch_add(1);
}

// One of two threads that took the same slot would end the other's pin with its own.
TEST(Epochs, ThreadsThatPinForTheFirstTimeTogetherTakeSlotsOfTheirOwn) {
  constexpr int kRounds = 20'000;
  Meeting meeting;
  std::atomic<int> deleted = 0;
  std::atomic<int> wrong = 0;
  std::thread leaves = EndingThread([&] {
    for (int round = 0; round < kRounds; ++round) {
      std::optional<Epochs::Pin> pin;
      meeting.Meet();
      Dawdle(round % 16);
      pin.emplace();
      meeting.Meet();
      meeting.Meet();
      pin.reset();
      meeting.Meet();
    }
  });
  std::thread stays = EndingThread([&] {
    for (int round = 0; round < kRounds; ++round) {
      std::optional<Epochs::Pin> pin;
      meeting.Meet();
      Dawdle(15 - round % 16);
      pin.emplace();
      meeting.Meet();
      RetireOne(deleted);
      meeting.Meet();
      meeting.Meet();
      Epochs::Collect();
      if (deleted != round) ++wrong;
      pin.reset();
      Epochs::Collect();
    }
  });
  leaves.join();
  stays.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(deleted, kRounds);
}

// Stores that have to wait for memory hold up those after them, a pin's too, while loads go ahead: a pin that did not
// wait for its own store would be seen long after the pointer was loaded.
TEST(Epochs, APinIsSeenBeforeAPointerIsLoadedUnderIt) {
  constexpr size_t kReplacements = 1'000'000;
  constexpr size_t kCold = size_t{64} << 20;
  struct Object {
    std::atomic<bool> deleted = false;
  };
  std::vector<Object> objects(kReplacements);  // "Deleted" ones stay, so that it shows who still looks at them.
  std::atomic<Object*> published = objects.data();
  std::atomic<size_t> reads = 0;
  std::atomic<bool> done = false;
  std::atomic<int> wrong = 0;

  std::thread reader([&] {
    const std::unique_ptr<volatile char[]> cold(new char[kCold]());
    uint64_t random = 1;
    while (!done.load(std::memory_order_relaxed)) {
      for (int stores = 0; stores < 8; ++stores) {
        random = random * 6364136223846793005 + 1442695040888963407;
        cold[(random >> 33) % kCold] = 1;
      }
      const Epochs::Pin pin;
      const Object* const seen = published.load();
      for (int looks = 0; looks < 64; ++looks) {
        if (!seen->deleted.load(std::memory_order_relaxed)) continue;
        wrong.fetch_add(1, std::memory_order_relaxed);
        break;
      }
      reads.fetch_add(1, std::memory_order_relaxed);
    }
  });
  while (reads.load() < 100) std::this_thread::yield();
  for (size_t next = 1; next < kReplacements && wrong.load(std::memory_order_relaxed) == 0; ++next) {
    Object* const replaced = published.exchange(&objects[next]);
    Epochs::RetireRaw(replaced, [](void* object) { static_cast<Object*>(object)->deleted = true; });
    Epochs::Collect();
  }
  done = true;
  reader.join();
  EXPECT_EQ(wrong, 0) << "after " << reads << " reads";
  Epochs::Collect();
}

// Readers that come and go read what two writers replace as fast as they can.
TEST(Epochs, ReadersNeverSeeADeletedObject) {
  constexpr int kReplacements = 20'000;
  std::atomic<int> deleted = 0;
  std::array<std::atomic<Tracked*>, 2> published;
  for (auto& one : published) one.store(new Tracked(deleted));
  std::atomic<int> writing = 2;
  std::atomic<int> wrong = 0;
  std::atomic<int> reads = 0;

  std::vector<std::thread> threads;
  for (auto& mine : published) {
    threads.emplace_back([&, first_reads = 100] {
      while (reads.load() < first_reads) std::this_thread::yield();
      for (int i = 0; i < kReplacements; ++i) Epochs::Retire(mine.exchange(new Tracked(deleted)));
      --writing;
    });
  }
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([&] {
      while (writing.load() > 0) {
        std::thread([&] {  // A thread of its own, so that slots are given back and taken again meanwhile.
          for (int pins = 0; pins < 500; ++pins) {
            const Epochs::Pin pin;
            const std::array<const Tracked*, 2> seen = {published[0].load(), published[1].load()};
            for (int looks = 0; looks < 4; ++looks) {
              for (const Tracked* one : seen) wrong += one->Intact() ? 0 : 1;
            }
            ++reads;
          }
        })
            .join();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();

  EXPECT_EQ(wrong, 0);
  Epochs::Collect();
  EXPECT_EQ(deleted, 2 * kReplacements);
  for (auto& one : published) delete one.load();
}

}  // namespace
}  // namespace latchkey::core
