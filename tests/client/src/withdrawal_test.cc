// A question whose caller no longer wants the answer.
#include <atomic>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/synchronization/blocking_counter.h"
#include "tests/client/src/caching_fixture.h"

namespace latchkey {
namespace {

using testing::TestServer;

TEST(Withdrawal, IsAnsweredAtOnceAndTheOthersGetTheirAnswers) {
  TestServer server;
  const std::string key = server.AddKey();
  const auto verifier = ConnectWatching(Patient(server));
  server.SetLatency(absl::Milliseconds(300));
  absl::BlockingCounter answered(2);
  Answer withdrawn;
  Answer other;
  std::stop_source hung_up;
  verifier->VerifyAsync(key, {.stop = hung_up.get_token()}, [&](Answer answer) {
    withdrawn = std::move(answer);
    answered.DecrementCount();
  });
  verifier->VerifyAsync(key, {}, [&](Answer answer) {
    other = std::move(answer);
    answered.DecrementCount();
  });
  hung_up.request_stop();
  // The callback has run by now, on this thread.
  EXPECT_EQ(withdrawn.error().code(), absl::StatusCode::kCancelled);
  answered.Wait();
  EXPECT_TRUE(other.allowed()) << other.error();
  EXPECT_EQ(server.questions(key), 1);
}

TEST(Withdrawal, BeforehandAsksNobodyButMemory) {
  TestServer server;
  const std::string key = server.AddKey();
  const auto verifier = ConnectWatching(Patient(server));
  std::stop_source hung_up;
  hung_up.request_stop();
  EXPECT_EQ(verifier->Verify(key, {.stop = hung_up.get_token()}).error().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(server.questions(key), 0);
  ASSERT_TRUE(Eventually([&] { return verifier->Verify(key).allowed() && verifier->Stats().hits > 0; }));
  EXPECT_TRUE(verifier->Verify(key, {.stop = hung_up.get_token()}).allowed());
}

TEST(Withdrawal, LeavesAnAnswerThatIsRemembered) {
  TestServer server;
  const std::string key = server.AddKey();
  const auto verifier = ConnectWatching(Patient(server));
  server.SetLatency(absl::Milliseconds(100));
  std::stop_source hung_up;
  verifier->VerifyAsync(key, {.stop = hung_up.get_token()}, [](const Answer&) {});
  hung_up.request_stop();
  EXPECT_TRUE(Eventually([&] { return verifier->Stats().entries == 1; }));
  EXPECT_TRUE(verifier->Verify(key).allowed());
  EXPECT_EQ(server.questions(key), 1);
}

TEST(Withdrawal, RacingWithTheAnswerGivesOneOfBothOnce) {
  TestServer server;
  std::vector<std::string> keys;
  for (int i = 0; i < 200; ++i) keys.push_back(server.AddKey());
  std::atomic<int> answers = 0;
  int asked = 0;
  {
    // Nothing is remembered: each is a question.
    VerifierOptions options = Patient(server);
    options.cache_entries = 1;
    const auto verifier = ConnectWatching(options);
    for (int round = 0; round < 10; ++round) {
      std::vector<std::stop_source> stops(keys.size());
      std::thread stopper([&] {
        for (std::stop_source& stop : stops) stop.request_stop();
      });
      for (size_t i = 0; i < keys.size(); ++i, ++asked) {
        verifier->VerifyAsync(keys[i], {.stop = stops[i].get_token()}, [&](const Answer& answer) {
          if (answer.allowed() || absl::IsCancelled(answer.error())) ++answers;
        });
      }
      stopper.join();
    }
  }
  EXPECT_EQ(answers, asked);
}

TEST(Withdrawal, CancelsTheCallOfAVerifierWithoutACache) {
  TestServer server;
  const std::string key = server.AddKey();
  VerifierOptions options = Patient(server);
  options.cache = false;
  const auto verifier = Connect(options);
  ASSERT_TRUE(verifier->Verify(key).allowed());
  server.SetLatency(absl::Seconds(10));
  absl::Notification answered;
  Answer withdrawn;
  std::stop_source hung_up;
  verifier->VerifyAsync(key, {.stop = hung_up.get_token()}, [&](Answer answer) {
    withdrawn = std::move(answer);
    answered.Notify();
  });
  hung_up.request_stop();
  answered.WaitForNotification();
  EXPECT_EQ(withdrawn.error().code(), absl::StatusCode::kCancelled);
}

}  // namespace
}  // namespace latchkey
