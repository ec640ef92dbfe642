#include "client/core/epochs.h"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <latch>
#include <memory>
#include <thread>
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

// Destroyed after everything that its thread made later, the record of its slot included.
struct PinsAtTheEnd {
  ~PinsAtTheEnd() {
    for (int i = 0; i < 3; ++i) {
      const Epochs::Pin pin;
      RetireOne(*deleted);
      Epochs::Collect();
      kept = kept && deleted->load() == i;
    }
  }
  std::atomic<int>* deleted = nullptr;
  static inline std::atomic<bool> kept = true;
};

TEST(Epochs, AThreadMayPinWhileItsThreadLocalsAreDestroyed) {
  std::atomic<int> deleted = 0;
  PinsAtTheEnd::kept = true;
  std::thread([&deleted] {
    thread_local PinsAtTheEnd at_the_end;
    at_the_end.deleted = &deleted;
    const Epochs::Pin pin;
  }).join();
  EXPECT_TRUE(PinsAtTheEnd::kept);
  Epochs::Collect();
  EXPECT_EQ(deleted, 3);
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
