#include "client/core/published_table.h"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <map>
#include <memory>
#include <random>
#include <thread>
#include <vector>

namespace latchkey::core {
namespace {

// A version of the record `id`. Its bytes prove themselves; a use after the end shows.
class Entry {
 public:
  Entry(uint64_t hash, uint64_t id, uint64_t version)
      : hash_(hash), id_(id), version_(version), sum_(hash * 3 + id * 5 + version * 7 + kSalt) {}
  ~Entry() {
    sum_ = kPoison;
    version_ = kPoison;
  }
  uint64_t hash() const { return hash_; }
  uint64_t id() const { return id_; }
  uint64_t version() const { return version_; }
  bool Intact() const { return sum_ == hash_ * 3 + id_ * 5 + version_ * 7 + kSalt; }

 private:
  static constexpr uint64_t kSalt = 0x5A17;
  static constexpr uint64_t kPoison = 0xDEADDEADDEADDEAD;
  const uint64_t hash_;
  const uint64_t id_;
  // Volatile: the compiler may drop stores to what is being destroyed.
  volatile uint64_t version_;
  volatile uint64_t sum_;
};

using Table = PublishedTable<Entry>;

// Mixed in the high bits; the lowest ones clash, so that probing runs are long and end around the table's end.
uint64_t ClashingHash(uint64_t id) { return id * 0x9E3779B97F4A7C15 | 0xC; }
uint64_t MixedHash(uint64_t id) {
  id = (id ^ id >> 30) * 0xBF58476D1CE4E5B9;
  return id ^ id >> 27;
}

auto Is(uint64_t id) {
  return [id](const Entry& entry) { return entry.id() == id; };
}

TEST(PublishedTable, FindsWhatWasPutUnderTheSameHash) {
  Table table;
  Entry a(7, 1, 0);
  Entry b(7, 2, 0);
  EXPECT_EQ(table.Put(&a, Is(1)), nullptr);
  EXPECT_EQ(table.Put(&b, Is(2)), nullptr);
  const Epochs::Pin pin;
  EXPECT_EQ(table.Find(7, Is(1)), &a);
  EXPECT_EQ(table.Find(7, Is(2)), &b);
  EXPECT_EQ(table.Find(7, Is(3)), nullptr);
  EXPECT_EQ(table.Find(8, Is(1)), nullptr);
  EXPECT_EQ(table.size(), 2u);
}

TEST(PublishedTable, PutReturnsWhatItReplaced) {
  Table table;
  Entry a(7, 1, 0);
  Entry b(7, 1, 1);
  EXPECT_EQ(table.Put(&a, Is(1)), nullptr);
  EXPECT_EQ(table.Put(&b, Is(1)), &a);
  EXPECT_EQ(table.size(), 1u);
  const Epochs::Pin pin;
  EXPECT_EQ(table.Find(7, Is(1)), &b);
}

TEST(PublishedTable, EraseReturnsWhatItUnlinkedAndLeavesTheRest) {
  Table table;
  Entry a(7, 1, 0);
  Entry b(7, 2, 0);
  table.Put(&a, Is(1));
  table.Put(&b, Is(2));
  EXPECT_EQ(table.Erase(7, Is(3)), nullptr);
  EXPECT_EQ(table.Erase(7, Is(1)), &a);
  EXPECT_EQ(table.Erase(7, Is(1)), nullptr);
  EXPECT_EQ(table.size(), 1u);
  const Epochs::Pin pin;
  EXPECT_EQ(table.Find(7, Is(1)), nullptr);
  EXPECT_EQ(table.Find(7, Is(2)), &b);
}

TEST(PublishedTable, ClearHandsOutEverythingOnceItCannotBeFound) {
  Table table;
  std::vector<std::unique_ptr<Entry>> entries;
  for (uint64_t id = 0; id < 100; ++id) {
    entries.push_back(std::make_unique<Entry>(MixedHash(id), id, 0));
    table.Put(entries.back().get(), Is(id));
  }
  std::vector<int> seen(100, 0);
  table.Clear([&](Entry* entry) {
    const Epochs::Pin pin;
    EXPECT_EQ(table.Find(entry->hash(), Is(entry->id())), nullptr);
    ++seen[entry->id()];
  });
  EXPECT_EQ(seen, std::vector<int>(100, 1));
  EXPECT_EQ(table.size(), 0u);
  table.ForEach([](Entry*) { ADD_FAILURE(); });
  EXPECT_EQ(table.Put(entries[0].get(), Is(0)), nullptr);
  EXPECT_EQ(table.size(), 1u);
}

// Ten of one hash, of which the last is left: nine marks that an erased entry leaves stay before it.
std::vector<std::unique_ptr<Entry>> PutOneBehindNineMarks(Table& table) {
  std::vector<std::unique_ptr<Entry>> entries;
  for (uint64_t id = 1000; id < 1010; ++id) {
    entries.push_back(std::make_unique<Entry>(3, id, 0));
    table.Put(entries.back().get(), Is(id));
  }
  for (uint64_t id = 1000; id < 1009; ++id) table.Erase(3, Is(id));
  return entries;
}

TEST(PublishedTable, ReservedRoomIsNotRehashed) {
  for (const size_t count : {1, 12, 13, 24, 25, 900}) {
    Table table;
    std::vector<std::unique_ptr<Entry>> entries = PutOneBehindNineMarks(table);
    table.Reserve(count);
    const Epochs::Pin pin;  // Nothing that a rehash retires goes unnoticed.
    Epochs::Collect();
    const size_t pending = Epochs::Pending();
    for (uint64_t id = 1; id < count; ++id) {
      entries.push_back(std::make_unique<Entry>(MixedHash(id), id, 0));
      table.Put(entries.back().get(), Is(id));
    }
    EXPECT_EQ(table.size(), count);
    EXPECT_EQ(Epochs::Pending(), pending) << count;
  }
}

TEST(PublishedTable, WhatTakesTheSlotOfAnErasedOneNeedsNoRehash) {
  Table table;
  const std::vector<std::unique_ptr<Entry>> entries = PutOneBehindNineMarks(table);
  const Epochs::Pin pin;
  Epochs::Collect();
  const size_t pending = Epochs::Pending();
  for (int i = 0; i < 1000; ++i) {
    EXPECT_EQ(table.Put(entries[0].get(), Is(1000)), nullptr);
    EXPECT_EQ(table.Erase(3, Is(1000)), entries[0].get());
  }
  EXPECT_EQ(Epochs::Pending(), pending);
}

TEST(PublishedTable, GrowingDoublesTheSlots) {
  Table table;
  size_t bytes = table.memory_bytes();
  std::vector<std::unique_ptr<Entry>> entries;
  int grown = 0;
  for (uint64_t id = 0; id < 3000; ++id) {
    entries.push_back(std::make_unique<Entry>(MixedHash(id), id, 0));
    table.Put(entries.back().get(), Is(id));
    if (table.memory_bytes() == bytes) continue;
    EXPECT_LE(table.memory_bytes(), 2 * bytes);
    bytes = table.memory_bytes();
    ++grown;
  }
  EXPECT_EQ(grown, 8);  // 16 slots, 12 entries; ...; 4096 slots, 3072 entries.
}

TEST(PublishedTable, ErasingAndPuttingForeverNeedsNoMoreRoom) {
  Table table;
  std::vector<std::unique_ptr<Entry>> entries;
  for (uint64_t id = 0; id < 20'000; ++id) {
    entries.push_back(std::make_unique<Entry>(MixedHash(id), id, 0));
    table.Put(entries.back().get(), Is(id));
    if (id >= 10) {
      EXPECT_NE(table.Erase(MixedHash(id - 10), Is(id - 10)), nullptr);
    }
  }
  EXPECT_EQ(table.size(), 10u);
  EXPECT_LE(table.memory_bytes(), 1024u);
}

// Against std::map, under hashes that clash and hashes that do not.
TEST(PublishedTable, DoesWhatAMapDoes) {
  for (const auto hash_of : {ClashingHash, MixedHash}) {
    std::mt19937_64 random(42);
    Table table;
    std::map<uint64_t, std::unique_ptr<Entry>> model;
    std::vector<std::unique_ptr<Entry>> gone;
    for (uint64_t step = 0; step < 20'000; ++step) {
      const uint64_t id = random() % (step % 4000 < 2000 ? 400 : 20);
      const auto there = model.find(id);
      Entry* const expected = there == model.end() ? nullptr : there->second.get();
      if (random() % 3 != 0) {
        auto entry = std::make_unique<Entry>(hash_of(id), id, step);
        ASSERT_EQ(table.Put(entry.get(), Is(id)), expected);
        if (expected != nullptr) gone.push_back(std::move(there->second));
        model[id] = std::move(entry);
      } else {
        ASSERT_EQ(table.Erase(hash_of(id), Is(id)), expected);
        if (expected != nullptr) {
          gone.push_back(std::move(there->second));
          model.erase(there);
        }
      }
      ASSERT_EQ(table.size(), model.size());
      if (step % 500 != 0) continue;
      const Epochs::Pin pin;
      for (uint64_t each = 0; each < 400; ++each) {
        const auto found = model.find(each);
        ASSERT_EQ(table.Find(hash_of(each), Is(each)), found == model.end() ? nullptr : found->second.get());
      }
      size_t visited = 0;
      table.ForEach([&](Entry* entry) {
        ++visited;
        EXPECT_EQ(model.at(entry->id()).get(), entry);
      });
      ASSERT_EQ(visited, model.size());
    }
  }
}

// Half of the records are only ever replaced: readers must find them always. The others come and go. No reader may find
// a version that was replaced or erased before it began.
void Stress(uint64_t (*hash_of)(uint64_t), uint64_t ids, int steps) {
  Table table;
  std::vector<std::atomic<uint64_t>> oldest(ids);  // The first version of each that a new reader may find.
  std::atomic<bool> done = false;
  std::atomic<int> missing = 0;
  std::atomic<int> stale = 0;
  std::atomic<int> broken = 0;
  std::array<std::atomic<int>, 2> rounds{};

  const auto put = [&](uint64_t id, uint64_t version) {
    const Entry* replaced = table.Put(new Entry(hash_of(id), id, version), Is(id));
    oldest[id].store(version);
    if (replaced != nullptr) Epochs::Retire(replaced);
  };
  const auto erase = [&](uint64_t id, uint64_t version) {
    const Entry* erased = table.Erase(hash_of(id), Is(id));
    oldest[id].store(version);
    if (erased != nullptr) Epochs::Retire(erased);
  };
  for (uint64_t id = 0; id < ids; id += 2) put(id, 1);

  std::vector<std::thread> readers;
  for (std::atomic<int>& round : rounds) {
    readers.emplace_back([&] {
      while (!done.load()) {
        for (uint64_t id = 0; id < ids; ++id) {
          const Epochs::Pin pin;
          const uint64_t first = oldest[id].load();
          const Entry* entry = table.Find(hash_of(id), Is(id));
          if (entry == nullptr) {
            missing += id % 2 == 0 ? 1 : 0;
            continue;
          }
          stale += entry->version() < first ? 1 : 0;
          broken += entry->Intact() && entry->id() == id ? 0 : 1;
        }
        ++round;
      }
    });
  }
  const auto wait_for_rounds = [&](int more) {
    for (std::atomic<int>& round : rounds) {
      for (const int until = round.load() + more; round.load() < until;) std::this_thread::yield();
    }
  };

  std::mt19937_64 random(1);
  uint64_t version = 1;
  for (int phase = 0; phase < 4; ++phase) {
    wait_for_rounds(1);
    for (int step = 0; step < steps; ++step) {
      const uint64_t id = random() % ids;
      ++version;
      if (id % 2 == 0 || random() % 2 == 0) {
        put(id, version);
      } else {
        erase(id, version);
      }
    }
    // Empty and full in turn, so that growth and sweeping happen under the readers.
    for (uint64_t id = 1; id < ids; id += 2) phase % 2 == 0 ? erase(id, ++version) : put(id, ++version);
    table.Reserve(ids << phase);
  }
  wait_for_rounds(2);
  done = true;
  for (std::thread& reader : readers) reader.join();

  EXPECT_EQ(missing, 0);
  EXPECT_EQ(stale, 0);
  EXPECT_EQ(broken, 0);
  table.Clear([](const Entry* entry) { Epochs::Retire(entry); });
  Epochs::Collect();
}

TEST(PublishedTable, ReadersFindWhatIsThereWhileTheTableGrowsAndChanges) { Stress(MixedHash, 2000, 5000); }

TEST(PublishedTable, ReadersFindWhatIsThereThoughHashesClash) { Stress(ClashingHash, 60, 10'000); }

TEST(PublishedTable, AReaderThatIsPinnedKeepsWhatItFound) {
  Table table;
  table.Put(new Entry(7, 1, 1), Is(1));
  {
    const Epochs::Pin pin;
    const Entry* found = table.Find(7, Is(1));
    Epochs::Retire(static_cast<const Entry*>(table.Erase(7, Is(1))));
    Epochs::Collect();
    EXPECT_TRUE(found->Intact());
    EXPECT_EQ(found->version(), 1u);
  }
  Epochs::Collect();
}

}  // namespace
}  // namespace latchkey::core
