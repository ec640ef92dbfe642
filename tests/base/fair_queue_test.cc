#include "server/base/fair_queue.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <vector>

namespace latchkey::base {
namespace {

using ::testing::ElementsAre;

constexpr int kManyRunning = 1000;

// What comes out, none of it being done before the last.
template <typename T>
std::vector<T> PopAll(FairQueue<T>& queue) {
  std::vector<T> order;
  while (auto next = queue.Pop()) order.push_back(next->item);
  return order;
}

TEST(FairQueue, SharesTakeTurnsAndEachKeepsItsOrder) {
  FairQueue<std::string> queue(100, kManyRunning);
  for (const char* item : {"a1", "a2", "a3", "a4", "b1", "c1", "b2"}) {
    EXPECT_FALSE(queue.Push(std::string(1, item[0]), item).has_value());
  }
  EXPECT_THAT(PopAll(queue), ElementsAre("a1", "b1", "c1", "a2", "b2", "a3", "a4"));
  EXPECT_TRUE(queue.empty());
}

TEST(FairQueue, ShareThatHasFewerRunningGoesFirst) {
  FairQueue<std::string> queue(100, kManyRunning);
  for (const char* item : {"a1", "a2"}) static_cast<void>(queue.Push("a", item));
  PopAll(queue);
  static_cast<void>(queue.Push("a", "a3"));
  static_cast<void>(queue.Push("b", "b1"));
  EXPECT_EQ(queue.Pop()->item, "b1");
  queue.Done("a");
  queue.Done("a");
  static_cast<void>(queue.Push("b", "b2"));
  EXPECT_EQ(queue.Pop()->item, "a3");
}

TEST(FairQueue, OneShareMayFillItAndMakesRoomForOthersUntilTheyHaveAsMuch) {
  FairQueue<std::string> queue(4, kManyRunning);
  for (const char* item : {"a1", "a2", "a3", "a4"}) EXPECT_FALSE(queue.Push("a", item).has_value());
  EXPECT_EQ(queue.Push("a", "a5"), "a5");
  EXPECT_EQ(queue.Push("b", "b1"), "a4");  // The newest of the longest.
  EXPECT_EQ(queue.Push("b", "b2"), "a3");
  EXPECT_EQ(queue.Push("b", "b3"), "b3");
  EXPECT_EQ(queue.Push("a", "a6"), "a6");
  EXPECT_EQ(queue.Push("c", "c1"), "a2");
  EXPECT_EQ(queue.size(), 4u);
  EXPECT_THAT(PopAll(queue), ElementsAre("a1", "b1", "c1", "b2"));
}

TEST(FairQueue, ShareRunsNoMoreThanItMayUntilOneIsDone) {
  FairQueue<std::string> queue(100, 2);
  for (const char* item : {"a1", "a2", "a3"}) static_cast<void>(queue.Push("a", item));
  EXPECT_THAT(PopAll(queue), ElementsAre("a1", "a2"));
  EXPECT_FALSE(queue.has_next());
  EXPECT_FALSE(queue.empty());
  static_cast<void>(queue.Push("b", "b1"));
  EXPECT_TRUE(queue.has_next());
  EXPECT_EQ(queue.Pop()->item, "b1");
  queue.Done("a");
  EXPECT_EQ(queue.Pop()->item, "a3");
}

TEST(FairQueue, WithoutPlacesNothingGoesIn) {
  FairQueue<std::string> queue(0, kManyRunning);
  EXPECT_EQ(queue.Push("a", "a1"), "a1");
  EXPECT_FALSE(queue.Pop().has_value());
}

}  // namespace
}  // namespace latchkey::base
