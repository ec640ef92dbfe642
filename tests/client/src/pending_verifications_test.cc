#include "client/src/pending_verifications.h"

#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <memory>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

#include "tests/client/src/cache/lease_cache_fixture.h"

namespace latchkey::client {
namespace {

using AnswerSource = PendingVerifications::AnswerSource;
using StatusOrAnswer = PendingVerifications::StatusOrAnswer;

// Runs what is due when it is told to.
class ManualTimers final : public Timers {
 public:
  explicit ManualTimers(const core::Clock& clock) : clock_(clock) {}
  void Post(Task task) override { At(clock_.BootNow(), std::move(task)); }
  TimerId At(core::BootTime when, Task task) override {
    const TimerId id{when, next_id_++};
    tasks_.emplace(id, std::move(task));
    return id;
  }
  TimerId After(absl::Duration delay, Task task) override { return At(clock_.BootNow() + delay, std::move(task)); }
  bool Cancel(const TimerId& id) override { return tasks_.erase(id) == 1; }
  void RunDue() {
    while (!tasks_.empty() && tasks_.begin()->first.first <= clock_.BootNow()) {
      const Task task = std::move(tasks_.begin()->second);
      tasks_.erase(tasks_.begin());
      task();
    }
  }
  size_t size() const { return tasks_.size(); }

 private:
  const core::Clock& clock_;
  uint64_t next_id_ = 1;
  std::map<TimerId, Task> tasks_;
};

// Takes what it is sent and answers when the test does.
struct FakeStream final : BatchSender {
  bool Send(std::shared_ptr<PendingVerification> pending) override {
    if (closed) return false;
    sent.push_back(std::move(pending));
    return true;
  }
  bool IsSilentSince(core::BootTime) override { return silent; }

  bool closed = false;
  bool silent = false;
  std::vector<std::shared_ptr<PendingVerification>> sent;
};

struct Call {
  absl::Duration timeout;
  std::string min_revision;
  std::function<void(StatusOrAnswer)> done;
};

class PendingVerificationsTest : public LeaseCacheTest {
 protected:
  explicit PendingVerificationsTest(LeaseCache::Options options = {}) : LeaseCacheTest(options) {
    OpenSettledStream();
    Pong();
  }
  ~PendingVerificationsTest() override {
    Pass(absl::Seconds(2));  // Also after a failure nobody waits for longer.
    pending.WaitUntilNoWaiters();
    EXPECT_EQ(timers.size(), 0u);
  }

  // The answer that will come, undecided with UNKNOWN until then.
  std::shared_ptr<Answer> Verify(const std::string& name, VerifyParams params = {}) {
    auto answer = std::make_shared<Answer>();
    pending.Verify(KeyOf(name), params, [answer](Answer given) {
      EXPECT_EQ(answer->error().code(), absl::StatusCode::kUnknown) << "answered twice";
      *answer = std::move(given);
    });
    return answer;
  }
  static bool IsWaiting(const std::shared_ptr<Answer>& answer) {
    return answer->error().code() == absl::StatusCode::kUnknown;
  }
  void Pass(absl::Duration time) {
    clock.Advance(time);
    timers.RunDue();
  }
  VerifierStats Stats() const {
    VerifierStats stats;
    pending.AddTo(stats);
    return stats;
  }

  ManualTimers timers{clock};
  std::shared_ptr<FakeStream> verify_stream;  // nullptr = none is open.
  std::vector<Call> calls;
  std::function<void()> while_writing = [] {};  // A call's request.
  int uses = 0;
  int grace_uses = 0;
  int replaced = 0;
  PendingVerifications pending{{.cache = cache,
                                .clock = clock,
                                .timers = timers,
                                .stream = [this] { return verify_stream; },
                                .replace_stream = [this](const std::shared_ptr<BatchSender>&) { ++replaced; },
                                .call =
                                    [this](std::string_view, absl::Duration timeout, const std::string& min_revision,
                                           std::function<void(StatusOrAnswer)> done) {
                                      calls.push_back({timeout, min_revision, std::move(done)});
                                      while_writing();
                                    },
                                .count_use = [this](const LeaseCache::Hit&) { ++uses; },
                                .on_grace_use = [this] { ++grace_uses; }},
                               absl::Seconds(2)};
};

TEST_F(PendingVerificationsTest, MissesOfOneKeyShareACallAndAreJudgedEachByItsParams) {
  const auto reader = Verify("a", {.required_permissions = {"app.read"}});
  const auto owner = Verify("a", {.required_permissions = {"app.own"}});
  Verify("b");
  ASSERT_EQ(calls.size(), 2u);
  calls[0].done(Allowed("a"));
  EXPECT_TRUE(reader->allowed());
  EXPECT_EQ(owner->decision(), latchkey::Decision::kPermissionDenied);
  EXPECT_EQ(uses, 1);  // The server has counted the first.
  EXPECT_EQ(Stats().coalesced, 1);
  EXPECT_EQ(Find("a"), Decision::kAllowed);
  calls[1].done(Denied(Decision::kNotFound));
}

TEST_F(PendingVerificationsTest, EachWaiterKeepsItsDeadline) {
  const auto hasty = Verify("a", {.timeout = absl::Milliseconds(100)});
  const auto patient = Verify("a");
  EXPECT_EQ(calls[0].timeout, absl::Milliseconds(100));
  Pass(absl::Milliseconds(100));
  EXPECT_EQ(hasty->error().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_TRUE(IsWaiting(patient));
  // The first call's time is up; whoever has more time asks once more.
  calls[0].done(absl::DeadlineExceededError("late"));
  ASSERT_EQ(calls.size(), 2u);
  EXPECT_EQ(calls[1].timeout, absl::Milliseconds(1900));
  calls[1].done(Allowed("a"));
  EXPECT_TRUE(patient->allowed());
}

TEST_F(PendingVerificationsTest, AnotherServerIsAskedOnceAfterUnavailable) {
  const auto answer = Verify("a");
  calls[0].done(absl::UnavailableError("away"));
  ASSERT_EQ(calls.size(), 2u);
  EXPECT_TRUE(IsWaiting(answer));
  calls[1].done(absl::UnavailableError("away too"));
  EXPECT_EQ(calls.size(), 2u);
  EXPECT_EQ(answer->error().message(), "away too");
  EXPECT_EQ(Stats().retries, 1);
}

TEST_F(PendingVerificationsTest, OtherErrorsAreTheAnswer) {
  const auto answer = Verify("a");
  calls[0].done(absl::UnauthenticatedError("who are you"));
  EXPECT_EQ(answer->error().code(), absl::StatusCode::kUnauthenticated);
  EXPECT_EQ(calls.size(), 1u);
}

TEST_F(PendingVerificationsTest, AnAnswerThatWatchHasOverriddenIsAskedForAtTheWatchedRevision) {
  const auto answer = Verify("a");
  InvalidateKey("a", 12);
  calls[0].done(Allowed("a", 11));
  ASSERT_EQ(calls.size(), 2u);
  EXPECT_EQ(calls[1].min_revision, At(12).Encode());
  EXPECT_TRUE(IsWaiting(answer));
  calls[1].done(Denied(Decision::kRevoked, 12));
  EXPECT_EQ(answer->decision(), latchkey::Decision::kRevoked);
}

TEST_F(PendingVerificationsTest, AnAnswerFromBelowTheStreamsStartIsAskedForAtTheWatchedRevision) {
  const auto answer = Verify("a");
  calls[0].done(Allowed("a", 9));
  ASSERT_EQ(calls.size(), 2u);
  EXPECT_EQ(calls[1].min_revision, At(10).Encode());
  EXPECT_TRUE(IsWaiting(answer));
  calls[1].done(Denied(Decision::kRevoked, 10));
  EXPECT_EQ(answer->decision(), latchkey::Decision::kRevoked);
}

TEST_F(PendingVerificationsTest, AnAnswersTimeCountsFromBeforeItsCallWasWritten) {
  LeaseCache::ServerAnswer short_lived = Allowed("a");
  short_lived.lease_remaining = absl::Seconds(1);
  while_writing = [this] { clock.Advance(absl::Seconds(1)); };
  const auto answer = Verify("a");
  while_writing = [] {};
  calls[0].done(short_lived);
  EXPECT_TRUE(IsWaiting(answer)) << "it came too late to be believed";
  ASSERT_EQ(calls.size(), 2u);
  clock.Advance(absl::Milliseconds(500));  // The server answers late, but in time.
  calls[1].done(short_lived);
  EXPECT_TRUE(answer->allowed());
}

TEST_F(PendingVerificationsTest, AServerThatStaysBehindIsNotAskedForEver) {
  const auto answer = Verify("a");
  InvalidateKey("a", 12);
  for (size_t i = 0; i < calls.size() && i < 100; ++i) calls[i].done(Allowed("a", 11));
  EXPECT_EQ(answer->error().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(calls.size(), 4u);
}

TEST_F(PendingVerificationsTest, TheStreamIsPreferredAndLeftAfterItsTime) {
  verify_stream = std::make_shared<FakeStream>();
  const auto answer = Verify("a");
  ASSERT_EQ(verify_stream->sent.size(), 1u);
  Pass(absl::Milliseconds(249));
  EXPECT_TRUE(calls.empty());
  Pass(absl::Milliseconds(1));
  ASSERT_EQ(calls.size(), 1u);
  EXPECT_EQ(replaced, 0);
  EXPECT_EQ(Stats().fallbacks, 1);
  // An error of the stream does not end what the call may still answer; an answer would.
  pending.OnAnswer(verify_stream->sent[0], {}, absl::InternalError("broken"), AnswerSource::kBrokenStream);
  EXPECT_TRUE(IsWaiting(answer));
  calls[0].done(Allowed("a"));
  EXPECT_TRUE(answer->allowed());
}

TEST_F(PendingVerificationsTest, ASilentStreamIsReplaced) {
  verify_stream = std::make_shared<FakeStream>();
  verify_stream->silent = true;
  Verify("a", {.timeout = absl::Milliseconds(100)});
  Pass(absl::Milliseconds(50));  // Half of its time.
  EXPECT_EQ(replaced, 1);
  ASSERT_EQ(calls.size(), 1u);
  calls[0].done(Allowed("a"));
}

TEST_F(PendingVerificationsTest, AClosedOrBrokenStreamIsNoError) {
  verify_stream = std::make_shared<FakeStream>();
  const auto broken = Verify("a");
  pending.OnAnswer(verify_stream->sent[0], {}, absl::UnavailableError("ended"), AnswerSource::kBrokenStream);
  verify_stream->closed = true;
  const auto closed = Verify("b");
  ASSERT_EQ(calls.size(), 2u);
  calls[0].done(Allowed("a"));
  calls[1].done(Allowed("b"));
  EXPECT_TRUE(broken->allowed());
  EXPECT_TRUE(closed->allowed());
  EXPECT_EQ(Stats().fallbacks, 2);
}

TEST_F(PendingVerificationsTest, AWithdrawnWaiterIsAnsweredAtOnceAndTheOthersGetTheirAnswers) {
  std::stop_source hung_up;
  const auto withdrawn = Verify("a", {.stop = hung_up.get_token()});
  const auto other = Verify("a");
  hung_up.request_stop();
  EXPECT_EQ(withdrawn->error().code(), absl::StatusCode::kCancelled);
  EXPECT_TRUE(IsWaiting(other));
  calls[0].done(Allowed("a"));
  EXPECT_TRUE(other->allowed());
}

TEST_F(PendingVerificationsTest, ADenialThatNobodyWaitsForStillCounts) {
  const LeaseCache::PendingRequest request = cache.BeginRequest(KeyOf("a"));
  std::stop_source hung_up;
  Verify("a", {.stop = hung_up.get_token()});
  cache.Insert(request, Allowed("a"), {});
  EXPECT_EQ(Find("a"), Decision::kAllowed);
  hung_up.request_stop();
  calls[0].done(Denied(Decision::kDisabled));
  EXPECT_EQ(Find("a"), Decision::kDisabled);
}

TEST_F(PendingVerificationsTest, ACallbackMayVerifyAgain) {
  std::shared_ptr<Answer> second;
  pending.Verify(KeyOf("a"), {}, [&](const Answer&) { second = Verify("a"); });
  calls[0].done(absl::UnauthenticatedError("no"));
  ASSERT_EQ(calls.size(), 2u);
  calls[1].done(Allowed("a"));
  EXPECT_TRUE(second->allowed());
}

class GracefulPendingVerificationsTest : public PendingVerificationsTest {
 protected:
  GracefulPendingVerificationsTest() : PendingVerificationsTest({.grace = absl::Minutes(1)}) {}
};

TEST_F(GracefulPendingVerificationsTest, GraceServesWhatWasVerifiedWhenNoServerDecides) {
  Insert("a", Allowed("a"));
  Pass(kL);
  const auto known = Verify("a");
  const auto unknown = Verify("b");
  Pass(absl::Seconds(2));
  EXPECT_TRUE(known->allowed());
  EXPECT_EQ(unknown->error().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(grace_uses, 1);
  EXPECT_EQ(uses, 1);
  EXPECT_EQ(Stats().grace_uses, 1);
  EXPECT_EQ(Stats().undecided, 1);
}

TEST_F(GracefulPendingVerificationsTest, GraceDoesNotHelpAnErrorThatIsTheCallersOwn) {
  Insert("a", Allowed("a"));
  Pass(kL);
  const auto answer = Verify("a");
  calls[0].done(absl::UnauthenticatedError("who are you"));
  EXPECT_EQ(answer->error().code(), absl::StatusCode::kUnauthenticated);
  EXPECT_EQ(grace_uses, 0);
}

}  // namespace
}  // namespace latchkey::client
