#include "server/keys/replication/recent_revisions.h"

#include <gtest/gtest.h>

#include <string>

namespace latchkey::keys {
namespace {

core::RevisionToken Token(int64_t revision, char chain = 'c') {
  return core::RevisionToken::Of(revision, std::string(32, chain));
}

TEST(RecentRevisions, EverythingIsAheadBeforeThereIsAView) {
  const RecentRevisions revisions;
  EXPECT_EQ(revisions.StatusOf(Token(1)), RevisionStatus::kAhead);
}

TEST(RecentRevisions, TellWhatIsAppliedOfThisHistoryAndWhatIsOfAnother) {
  RecentRevisions revisions;
  revisions.Restart(Token(10));
  revisions.Append(Token(11));
  EXPECT_EQ(revisions.StatusOf(Token(10)), RevisionStatus::kApplied);
  EXPECT_EQ(revisions.StatusOf(Token(11)), RevisionStatus::kApplied);
  EXPECT_EQ(revisions.StatusOf(Token(12)), RevisionStatus::kAhead);
  EXPECT_EQ(revisions.StatusOf(Token(11, 'x')), RevisionStatus::kUnknown);
  EXPECT_EQ(revisions.StatusOf(Token(-1)), RevisionStatus::kUnknown);
  EXPECT_EQ(revisions.StatusOf(Token(9)), RevisionStatus::kOld);
}

TEST(RecentRevisions, WhatTheDatabaseConfirmedIsAppliedAndAnotherChainAtItIsNot) {
  RecentRevisions revisions;
  revisions.Restart(Token(10));
  revisions.Confirm(Token(3), revisions.history_id());
  EXPECT_EQ(revisions.StatusOf(Token(3)), RevisionStatus::kApplied);
  EXPECT_EQ(revisions.StatusOf(Token(3, 'x')), RevisionStatus::kUnknown);
}

TEST(RecentRevisions, WhatWasConfirmedOfAHistoryThatIsOverDoesNotCount) {
  RecentRevisions revisions;
  revisions.Restart(Token(10));
  const int64_t before = revisions.history_id();
  revisions.Confirm(Token(2), before);
  revisions.Clear();
  EXPECT_EQ(revisions.StatusOf(Token(10)), RevisionStatus::kAhead);
  revisions.Restart(Token(8));
  revisions.Confirm(Token(3), before);
  EXPECT_EQ(revisions.StatusOf(Token(2)), RevisionStatus::kOld);
  EXPECT_EQ(revisions.StatusOf(Token(3)), RevisionStatus::kOld);
}

}  // namespace
}  // namespace latchkey::keys
