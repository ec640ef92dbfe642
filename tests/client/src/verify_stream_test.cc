#include "client/src/verify_stream.h"

#include <memory>
#include <string>
#include <utility>

#include "absl/synchronization/notification.h"
#include "client/src/key_file.h"
#include "gtest/gtest.h"
#include "latchkey/testing/test_server.h"
#include "tests/client/src/slow_writes.h"
#include "tests/support/fake_clock.h"

// The rest of it runs in tests/client/src/caching_verifier_test.cc.
namespace latchkey::client {
namespace {

TEST(VerifyStream, AnAnswersTimeCountsFromBeforeItsBatchIsWritten) {
  testing::TestServer server;
  const std::string key = server.AddKey();
  const VerifierOptions options = server.Options();
  const core::Secret caller = ReadKeyFile(options.key_file).value();
  testing::FakeClock clock;
  EventLoop loop(clock);
  LeaseCache cache({}, clock);
  LeaseCache::PendingRequest request;
  bool decided = false;
  absl::Notification answered;
  absl::Notification gone;
  const std::shared_ptr<VerifyStream> stream = VerifyStream::Open(
      ChannelWithSlowWrites(options.server, [&clock] { clock.Advance(absl::Seconds(1)); }), caller, cache, clock, loop,
      {.answered =
           [&](const std::shared_ptr<PendingVerification>&, const LeaseCache::PendingRequest& as_written,
               const PendingVerifications::StatusOrAnswer& answer, PendingVerifications::AnswerSource) {
             request = as_written;
             decided = answer.ok();
             answered.Notify();
           },
       .written = [](int) {},
       .gone = [&](VerifyStream*, const absl::Status&) { gone.Notify(); }});
  auto pending =
      std::make_shared<PendingVerification>(core::Secret(std::string(key)), cache.BeginRequest(key), std::string());
  pending->deadline = clock.BootNow() + absl::Seconds(30);
  const core::BootTime asked_at = clock.BootNow();
  ASSERT_TRUE(stream->Send(std::move(pending)));
  answered.WaitForNotification();
  EXPECT_TRUE(decided);
  EXPECT_EQ(request.asked_at, asked_at);
  EXPECT_EQ(clock.BootNow(), asked_at + absl::Seconds(1)) << "the write took no time";
  stream->Abort();
  gone.WaitForNotification();
}

}  // namespace
}  // namespace latchkey::client
