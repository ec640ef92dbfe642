#include "server/storage/postgres/watchdog.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "server/storage/postgres/connection_pool.h"
#include "server/storage/postgres/in_doubt.h"

// A server that answers nothing and breaks nothing: nobody but us ends the conversation.
namespace latchkey::contract {
namespace {

using storage::postgres::SocketCopy;
using storage::postgres::Watchdog;

struct Pair {
  Pair() { EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0); }
  ~Pair() {
    for (const int end : ends) close(end);
  }
  // Whether it is shut down, now or within `patience`.
  bool IsShut(absl::Duration patience = absl::ZeroDuration()) const {
    pollfd poller{.fd = ends[0], .events = POLLRDHUP, .revents = 0};
    return poll(&poller, 1, static_cast<int>(absl::ToInt64Milliseconds(patience))) == 1;
  }
  int ends[2];
};

TEST(Watchdog, ShutsASocketWhoseTimeIsOver) {
  Watchdog dog(absl::Milliseconds(50));
  const Pair pair;
  const absl::Time before = absl::Now();
  const Watchdog::Watch watch(&dog, pair.ends[0]);
  EXPECT_TRUE(pair.IsShut(absl::Seconds(10)));
  EXPECT_GE(absl::Now() - before, absl::Milliseconds(45));
  char byte;
  EXPECT_EQ(read(pair.ends[0], &byte, 1), 0);
}

TEST(Watchdog, LeavesASocketThatIsWatchedNoLonger) {
  Watchdog dog(absl::Milliseconds(50));
  const Pair done;
  const Pair late;
  { const Watchdog::Watch watch(&dog, done.ends[0]); }
  const Watchdog::Watch watch(&dog, late.ends[0]);
  EXPECT_TRUE(late.IsShut(absl::Seconds(10)));
  EXPECT_FALSE(done.IsShut());
}

TEST(Watchdog, EachSocketHasItsOwnTime) {
  Watchdog dog(absl::Milliseconds(200));
  const Pair first;
  const Pair second;
  const Watchdog::Watch watch_first(&dog, first.ends[0]);
  absl::SleepFor(absl::Milliseconds(150));
  const absl::Time before = absl::Now();
  const Watchdog::Watch watch_second(&dog, second.ends[0]);
  EXPECT_TRUE(first.IsShut(absl::Seconds(10)));
  EXPECT_TRUE(second.IsShut(absl::Seconds(10)));
  EXPECT_GE(absl::Now() - before, absl::Milliseconds(190));
}

TEST(Watchdog, ANumberThatIsAnothersMeanwhileIsLeftAlone) {
  Watchdog dog(absl::Milliseconds(50));
  int ends[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  const SocketCopy copy(ends[0]);
  ASSERT_GE(copy.get(), 0);
  const Watchdog::Watch watch(&dog, copy.get());
  // As libpq does within a statement when the session breaks.
  close(ends[0]);
  const Pair stranger;
  ASSERT_EQ(stranger.ends[0], ends[0]);
  pollfd poller{.fd = ends[1], .events = POLLRDHUP, .revents = 0};
  EXPECT_EQ(poll(&poller, 1, 10000), 1);
  EXPECT_FALSE(stranger.IsShut());
  close(ends[1]);
}

TEST(Watchdog, NoDogNoLimit) {
  const Pair pair;
  const Watchdog::Watch watch(nullptr, pair.ends[0]);
  EXPECT_FALSE(pair.IsShut(absl::Milliseconds(20)));
}

TEST(AskOutcome, AServerThatNeverAnswersHoldsItForItsPatienceAndOneConnect) {
  // The kernel accepts for it.
  const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  ASSERT_EQ(bind(listener, reinterpret_cast<sockaddr*>(&address), size), 0);
  ASSERT_EQ(listen(listener, 100), 0);
  ASSERT_EQ(getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size), 0);
  storage::postgres::ConnectionPool pool(absl::StrCat("host=127.0.0.1 dbname=x user=x port=", ntohs(address.sin_port)),
                                         {.connect_timeout = absl::Seconds(2), .statement_timeout = absl::Seconds(1)},
                                         1, absl::Milliseconds(100));
  const absl::Time before = absl::Now();
  const storage::postgres::Outcome outcome = storage::postgres::AskOutcome(
      pool, nullptr, storage::postgres::CommitToken::Random(), {}, absl::Milliseconds(500));
  EXPECT_EQ(outcome.kind, storage::postgres::Outcome::kUnknown);
  EXPECT_LT(absl::Now() - before, absl::Seconds(4));
  close(listener);
}

}  // namespace
}  // namespace latchkey::contract
