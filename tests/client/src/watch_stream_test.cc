#include "client/src/watch_stream.h"

#include <memory>
#include <optional>
#include <string>

#include "absl/synchronization/notification.h"
#include "client/src/key_file.h"
#include "gtest/gtest.h"
#include "latchkey/testing/test_server.h"
#include "tests/client/src/slow_writes.h"
#include "tests/support/fake_clock.h"

// The rest of it runs in tests/client/src/caching_verifier_test.cc.
namespace latchkey::client {
namespace {

TEST(WatchStream, APingIsSentAtTheTimeBeforeItIsWritten) {
  const testing::TestServer server;
  const VerifierOptions options = server.Options();
  const core::Secret caller = ReadKeyFile(options.key_file).value();
  testing::FakeClock clock;
  EventLoop loop(clock);
  core::BootTime asked_at;
  std::optional<core::BootTime> sent_at;
  absl::Notification gone;
  std::unique_ptr<WatchStream> stream;
  loop.Post([&] {
    stream = std::make_unique<WatchStream>(
        ChannelWithSlowWrites(options.server, [&clock] { clock.Advance(absl::Seconds(1)); }), caller, clock, loop,
        /*cache_stream=*/1, std::nullopt,
        WatchConnection::Events{.heard =
                                    [&](WatchConnection& heard, const v1::WatchResponse& message) {
                                      if (message.has_hello()) {
                                        asked_at = clock.BootNow();
                                        heard.Ping(core::RevisionToken());
                                      } else if (message.has_pong()) {
                                        sent_at = heard.TakeSentAt(message.pong().echo_seq());
                                        heard.Cancel();
                                      }
                                    },
                                .gone = [&](WatchConnection&, const absl::Status&) { gone.Notify(); }});
  });
  gone.WaitForNotification();
  ASSERT_TRUE(sent_at.has_value());
  EXPECT_EQ(*sent_at, asked_at);
  EXPECT_EQ(clock.BootNow(), asked_at + absl::Seconds(1)) << "the write took no time";
}

}  // namespace
}  // namespace latchkey::client
