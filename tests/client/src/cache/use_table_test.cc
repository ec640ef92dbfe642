#include "client/src/cache/use_table.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <latch>
#include <map>
#include <random>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

#include "client/src/cache/counters.h"
#include "client/src/cache/thread_shard.h"

namespace latchkey::client {
namespace {

using core::Decision;

constexpr char kKid[] = "aaaaaaaaaaaaaaaa";
// More than there are shards, so that some are shared.
constexpr int kThreads = ThreadShard::kShards + ThreadShard::kShared;

// Digits as random as a server's, the same for the same number.
std::string Kid(int number) {
  std::minstd_rand random(static_cast<unsigned>(number) * 2654435761u + 1);
  std::string kid;
  for (int i = 0; i < 16; ++i) {
    kid += "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"[random() / 1000 % 62];
  }
  return kid;
}

using Uses = std::map<std::tuple<std::string, int32_t, Decision>, int64_t>;

struct Drained {
  Uses uses;
  int places = 0;
};
Drained Drain(UseTable& table) {
  Drained drained;
  table.Drain([&](std::string_view kid, int32_t version, Decision decision, int64_t count) {
    drained.uses[{std::string(kid), version, decision}] += count;
    ++drained.places;
  });
  return drained;
}

// All of them at once, none ends before the last has begun.
void OnThreads(int count, const std::function<void(int)>& run) {
  std::latch begun(count);
  std::vector<std::thread> threads;
  for (int t = 0; t < count; ++t) {
    threads.emplace_back([&, t] {
      ThreadShard::Mine();
      begun.arrive_and_wait();
      run(t);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST(UseTable, CountsEachKeyVersionAndDecisionByItself) {
  UseTable table(1);
  EXPECT_TRUE(table.Count(kKid, 1, Decision::kAllowed));
  EXPECT_TRUE(table.Count(kKid, 1, Decision::kAllowed));
  EXPECT_TRUE(table.Count(kKid, 2, Decision::kAllowed));
  EXPECT_TRUE(table.Count(kKid, 1, Decision::kPermissionDenied));
  EXPECT_TRUE(table.Count(Kid(1), 1, Decision::kAllowed));
  const Uses uses = {{{kKid, 1, Decision::kAllowed}, 2},
                     {{kKid, 2, Decision::kAllowed}, 1},
                     {{kKid, 1, Decision::kPermissionDenied}, 1},
                     {{Kid(1), 1, Decision::kAllowed}, 1}};
  EXPECT_EQ(Drain(table).uses, uses);
}

TEST(UseTable, DrainEmpties) {
  UseTable table(1);
  EXPECT_TRUE(table.Count(kKid, 1, Decision::kAllowed));
  EXPECT_EQ(Drain(table).places, 1);
  EXPECT_EQ(Drain(table).places, 0);
  EXPECT_TRUE(table.Count(kKid, 1, Decision::kAllowed));
  const Uses uses = {{{kKid, 1, Decision::kAllowed}, 1}};
  EXPECT_EQ(Drain(table).uses, uses);
}

TEST(UseTable, KeyIdOfAnotherLengthIsRefused) {
  UseTable table(1);
  EXPECT_FALSE(table.Count("", 1, Decision::kAllowed));
  EXPECT_FALSE(table.Count("aaaaaaaaaaaaaaa", 1, Decision::kAllowed));
  EXPECT_FALSE(table.Count("aaaaaaaaaaaaaaaaa", 1, Decision::kAllowed));
  EXPECT_EQ(Drain(table).places, 0);
}

TEST(UseTable, WithoutRoomItSaysSoAndGoesOnCountingWhatIsThere) {
  UseTable table(4096);
  Uses counted;
  int kept = 0;
  while (kept <= 2 * 4096 && table.Count(Kid(kept), 1, Decision::kAllowed)) {
    counted[{Kid(kept++), 1, Decision::kAllowed}] = 1;
  }
  EXPECT_GE(kept, 4096);
  EXPECT_LE(kept, 2 * 4096);
  for (auto& [use, count] : counted) {
    EXPECT_TRUE(table.Count(std::get<std::string>(use), 1, Decision::kAllowed));
    ++count;
  }
  EXPECT_EQ(Drain(table).uses, counted);
  EXPECT_TRUE(table.Count(Kid(kept), 1, Decision::kAllowed));
}

TEST(UseTable, OneKeyOnManyThreadsEndsAsOneNumber) {
  constexpr int kEach = 20'000;
  UseTable table(100'000);
  OnThreads(kThreads, [&](int) {
    for (int i = 0; i < kEach; ++i) table.Count(kKid, 1, Decision::kAllowed);
  });
  const Drained drained = Drain(table);
  const Uses uses = {{{kKid, 1, Decision::kAllowed}, int64_t{kThreads} * kEach}};
  EXPECT_EQ(drained.uses, uses);
  EXPECT_EQ(drained.places, 1);
}

TEST(UseTable, ManyKeysOnManyThreadsAreCountedExactly) {
  constexpr int kKeys = 500;
  constexpr int kRounds = 5;
  UseTable table(100'000);
  std::atomic<int> refused = 0;
  OnThreads(kThreads, [&](int t) {
    for (int i = 0; i < kRounds * kKeys; ++i) {
      if (!table.Count(Kid((i + t * 7) % kKeys), 1, Decision::kAllowed)) ++refused;
    }
  });
  EXPECT_EQ(refused, 0);
  Uses uses;
  for (int i = 0; i < kKeys; ++i) uses[{Kid(i), 1, Decision::kAllowed}] = kThreads * kRounds;
  EXPECT_EQ(Drain(table).uses, uses);
}

TEST(UseTable, KeysBeyondALanesRoomAreCountedExactlyInThePartForAll) {
  constexpr int kKeys =
      8'000;  // For 8,192 places in each shard's part, not all of which are found, and as many in that for all.
  constexpr int kFew = 4;
  UseTable table(8'192);
  std::atomic<int> refused = 0;
  OnThreads(kFew, [&](int t) {
    for (int i = 0; i < 2 * kKeys; ++i) {
      if (!table.Count(Kid((i + t * kKeys / kFew) % kKeys), 1, Decision::kAllowed)) ++refused;
    }
  });
  EXPECT_EQ(refused, 0);
  Uses uses;
  for (int i = 0; i < kKeys; ++i) uses[{Kid(i), 1, Decision::kAllowed}] = 2 * kFew;
  EXPECT_EQ(Drain(table).uses, uses);
}

TEST(UseTable, TakesMemoryOnlyWhereItCounts) {
  UseTable table(1'000'000);
  const size_t empty = table.memory_bytes();
  EXPECT_LT(empty, 100'000u);
  table.Count(kKid, 1, Decision::kAllowed);
  EXPECT_EQ(table.memory_bytes(), empty + 4096);
  table.Count(kKid, 1, Decision::kAllowed);
  EXPECT_EQ(table.memory_bytes(), empty + 4096);
}

TEST(ThreadShard, LivingThreadsHaveShardsOfTheirOwnWhileThereAreSome) {
  std::vector<uint32_t> shards(ThreadShard::kOwn / 2);
  OnThreads(static_cast<int>(shards.size()), [&](int t) { shards[static_cast<size_t>(t)] = ThreadShard::Mine(); });
  std::map<uint32_t, int> owners;
  for (const uint32_t shard : shards) ++owners[shard];
  EXPECT_EQ(owners.size(), shards.size());
  EXPECT_LT(owners.rbegin()->first, ThreadShard::kOwn);
}

TEST(ThreadShard, ThreadsThatShareOneLoseNothing) {
  constexpr int kEach = 3'000'000;
  UseTable table(1);
  Counter counter;
  std::atomic<int> sharers = 0;
  OnThreads(kThreads, [&](int) {
    if (ThreadShard::Mine() != ThreadShard::kOwn) return;
    ++sharers;
    const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (sharers < 2 && std::chrono::steady_clock::now() < give_up) {
      // Not asleep: from here on the two run beside each other.
    }
    for (int i = 0; i < kEach; ++i) {
      table.Count(kKid, 1, Decision::kAllowed);
      counter.Add();
    }
  });
  EXPECT_EQ(sharers, 2);
  const Uses uses = {{{kKid, 1, Decision::kAllowed}, int64_t{sharers} * kEach}};
  EXPECT_EQ(Drain(table).uses, uses);
  EXPECT_EQ(counter.value(), int64_t{sharers} * kEach);
}

TEST(ThreadShard, WhatEndedThreadsHadIsGivenToTheNext) {
  Counter counter;
  for (uint32_t i = 0; i < 3 * ThreadShard::kOwn; ++i) {
    std::thread([&] {
      EXPECT_LT(ThreadShard::Mine(), ThreadShard::kOwn);
      counter.Add();
    }).join();
  }
  EXPECT_EQ(counter.value(), 3 * ThreadShard::kOwn);
}

TEST(Counter, AddsUpWhatManyThreadsCount) {
  constexpr int kEach = 20'000;
  Counter counter;
  OnThreads(kThreads, [&](int) {
    for (int i = 0; i < kEach; ++i) counter.Add();
  });
  EXPECT_EQ(counter.value(), int64_t{kThreads} * kEach);
}

}  // namespace
}  // namespace latchkey::client
