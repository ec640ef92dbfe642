#include "server/keys/replication/watch_session.h"

#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <utility>
#include <variant>

#include "tests/support/memory_service.h"
#include "tests/support/status_matchers.h"

// What a schedule of the simulation does not reach; the rest of the session runs there.
namespace latchkey::keys {
namespace {

using testing::IsOk;
using testing::MemoryService;

class WatchSessionTest : public ::testing::Test {
 protected:
  WatchSessionTest() {
    EXPECT_THAT(service_.follower.Renew(), IsOk());
    EXPECT_THAT(session_.Subscribe({}, {}, nullptr), IsOk());
    EXPECT_TRUE(Next<WatchSession::Hello>().has_value());
  }

  // The next message, if it is of that kind.
  template <typename Kind>
  std::optional<Kind> Next() {
    std::optional<WatchSession::Message> next = session_.Next();
    EXPECT_THAT(session_.ended(), IsOk());
    if (!next.has_value() || !std::holds_alternative<Kind>(*next)) return std::nullopt;
    return std::get<Kind>(*std::move(next));
  }
  std::optional<WatchSession::Pong> PingPong(bool may_lend = true) {
    EXPECT_THAT(session_.OnPing(++seq_, std::nullopt, may_lend), IsOk());
    return Next<WatchSession::Pong>();
  }

  MemoryService service_;
  WatchSession session_{
      {.hub = service_.hub, .index = service_.index, .follower = service_.follower, .clock = service_.clock}};
  uint64_t seq_ = 0;
};

// A client acknowledges what a Pong tells: it must have been told of every row up to there.
TEST_F(WatchSessionTest, APongTellsTheRevisionUpToWhichRowsWereQueuedNotTheIndexs) {
  const core::RevisionToken before = service_.hub.position();
  const LogPosition next{before.revision + 1, std::string(32, 'x')};
  Change change;
  change.key = KeyRecord{.organization = "acme", .kid = "0123456789abcdef", .role = "viewer"};
  service_.index.Apply(next, change);  // The follower publishes it to the hub a moment later.
  const auto early = PingPong();
  ASSERT_TRUE(early.has_value());
  EXPECT_EQ(early->revision, before);

  service_.hub.Publish(next, change);
  const auto told = Next<WatchSession::Invalidate>();
  ASSERT_TRUE(told.has_value());
  EXPECT_EQ(told->rows.back().revision.revision, next.rev);
  const auto late = PingPong();
  ASSERT_TRUE(late.has_value());
  EXPECT_EQ(late->revision, core::RevisionToken::Of(next.rev, next.chain));
}

TEST_F(WatchSessionTest, ACallerWhoCouldNotBeJudgedIsLentNothing) {
  const auto unjudged = PingPong(/*may_lend=*/false);
  ASSERT_TRUE(unjudged.has_value());
  EXPECT_EQ(unjudged->remaining, absl::ZeroDuration());
  const auto judged = PingPong(/*may_lend=*/true);
  ASSERT_TRUE(judged.has_value());
  EXPECT_EQ(judged->remaining, absl::Seconds(5));
}

}  // namespace
}  // namespace latchkey::keys
