#include "server/keys/replication/invalidation_log.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

namespace latchkey::keys {
namespace {

InvalidationLog::Row RowAt(int64_t revision) {
  Invalidation row;
  row.revision.revision = revision;
  return std::make_shared<const Invalidation>(row);
}

std::vector<int64_t> RevisionsOf(const InvalidationLog::View& view) {
  std::vector<int64_t> revisions;
  for (size_t i = 0; i < view.size(); ++i) revisions.push_back(view.at(i)->revision.revision);
  return revisions;
}

TEST(InvalidationLog, ShowsWhatCameAfterARevisionHoweverManyWereDropped) {
  InvalidationLog log;
  EXPECT_TRUE(log.empty());
  EXPECT_EQ(log.After(0).size(), 0u);
  // Every second revision: a list of one organization has gaps.
  for (int64_t dropped = 0; dropped < 100; ++dropped) {
    log = InvalidationLog();
    for (int64_t i = 0; i < 200; ++i) log.Append(RowAt(2 * i));
    for (int64_t i = 0; i < dropped; ++i) log.DropOldest();
    ASSERT_EQ(log.size(), static_cast<size_t>(200 - dropped));
    EXPECT_EQ(log.oldest()->revision.revision, 2 * dropped);
    EXPECT_EQ(log.newest()->revision.revision, 398);
    for (const int64_t after : {int64_t{-1}, 2 * dropped, int64_t{255}, int64_t{256}, int64_t{397}, int64_t{398}}) {
      std::vector<int64_t> wanted;
      for (int64_t i = dropped; i < 200; ++i) {
        if (2 * i > after) wanted.push_back(2 * i);
      }
      EXPECT_EQ(RevisionsOf(log.After(after)), wanted) << dropped << " dropped, after " << after;
      EXPECT_EQ(log.CountAfter(after), wanted.size());
    }
  }
}

TEST(InvalidationLog, ViewStaysAsItIsWhileTheLogGoesOn) {
  InvalidationLog log;
  for (int64_t i = 1; i <= 40; ++i) log.Append(RowAt(i));
  const InvalidationLog::View view = log.After(30);
  std::atomic<bool> stop = false;
  std::thread reader([&] {
    do {
      ASSERT_EQ(RevisionsOf(view), (std::vector<int64_t>{31, 32, 33, 34, 35, 36, 37, 38, 39, 40}));
    } while (!stop);
  });
  for (int64_t i = 41; i <= 20'000; ++i) {
    log.Append(RowAt(i));
    log.DropOldest();
  }
  stop = true;
  reader.join();
}

}  // namespace
}  // namespace latchkey::keys
