#include "server/rpc/transport/call_charge.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <vector>

#include "server/base/errors.h"

namespace latchkey::rpc {
namespace {

using std::chrono::seconds;

class CallChargeTest : public ::testing::Test {
 protected:
  static Admission::Limits SmallLimits() {
    Admission::Limits limits;
    limits.connections.calls = 10;
    limits.connections.process.fill({100, 100 * kCallBytes});
    limits.connections.connection.fill({4, 6 * kCallBytes});
    limits.caller_unsent_bytes = 4 * kCallBytes;
    limits.organization_unsent_bytes = 6 * kCallBytes;
    limits.process_unsent_bytes = 100 * kCallBytes;
    return limits;
  }
  std::unique_ptr<CallCharge> NewCall() {
    return std::make_unique<CallCharge>(admission_, connection_, AnonymousClass::kUnproven);
  }
  Amount unproven() const { return connection_->account(AnonymousClass::kUnproven)->held(); }
  size_t UnsentOf(const char* organization, const char* kid) {
    return admission_.UnsentOf(organization, kid)->held().bytes;
  }

  class Endless final : public OpenCall {
    std::function<void()> Canceller() const override {
      return [] {};
    }
  };

  const Endless call_{};
  Admission admission_{SmallLimits()};
  const std::shared_ptr<Connection> connection_ =
      admission_.connections().Add("peer", open("/dev/null", O_RDONLY | O_CLOEXEC));
};

TEST_F(CallChargeTest, PlaceIsGivenBackWithTheAnswerAndBytesAtTheEnd) {
  auto call = NewCall();
  ASSERT_TRUE(call->Begin(1).ok());
  EXPECT_EQ(unproven().places, 1u);
  EXPECT_EQ(unproven().bytes, kCallBytes);
  EXPECT_EQ(call->Finish(0), CallCharge::Answer::kSend);
  EXPECT_EQ(unproven().places, 0u);
  EXPECT_EQ(unproven().bytes, kCallBytes);
  EXPECT_EQ(connection_->calls()->held().places, 1u);
  call = nullptr;
  EXPECT_EQ(unproven().bytes, 0u);
  EXPECT_EQ(connection_->calls()->held().places, 0u);
}

TEST_F(CallChargeTest, CallOfAKnownCallerNeedsNoneOfTheAnonymousShare) {
  auto call = NewCall();
  ASSERT_TRUE(call->Begin(1).ok());
  EXPECT_FALSE(connection_->proven());
  call->SetCaller("acme", "kid");
  EXPECT_TRUE(connection_->proven());
  EXPECT_EQ(unproven().places, 0u);
  EXPECT_EQ(unproven().bytes, 0u);
  ASSERT_TRUE(call->AddUnsent(100).ok());
  EXPECT_EQ(UnsentOf("acme", "kid"), 100u);
  call->NoteSent(60);
  EXPECT_EQ(UnsentOf("acme", "kid"), 40u);
  EXPECT_EQ(call->Finish(0), CallCharge::Answer::kSend);
  EXPECT_EQ(UnsentOf("acme", "kid"), 40 + kCallBytes);
  call = nullptr;
  EXPECT_EQ(UnsentOf("acme", "kid"), 0u);
}

TEST_F(CallChargeTest, RefusedCallsThatNobodyTakesAreResetWhenThereIsNoMemoryLeft) {
  std::vector<std::unique_ptr<CallCharge>> calls;
  for (int i = 0; i < 4; ++i) {
    calls.push_back(NewCall());
    ASSERT_TRUE(calls.back()->Begin(1).ok());
  }
  for (int i = 0; i < 2; ++i) {
    calls.push_back(NewCall());
    EXPECT_EQ(errors::ReasonOf(calls.back()->Begin(1)), errors::Reason::kWorkersBusy);
    EXPECT_EQ(calls.back()->Finish(0), CallCharge::Answer::kSend);
  }
  calls.push_back(NewCall());
  EXPECT_FALSE(calls.back()->Begin(1).ok());
  EXPECT_EQ(calls.back()->Finish(0), CallCharge::Answer::kReset);
  EXPECT_FALSE(connection_->is_shut());
}

TEST_F(CallChargeTest, ConnectionOfTooManyCallsIsShut) {
  std::vector<std::unique_ptr<CallCharge>> calls;
  for (int i = 0; i < 10; ++i) {
    calls.push_back(NewCall());
    EXPECT_TRUE(calls.back()->Begin(0).ok() || i >= 6);
  }
  EXPECT_FALSE(connection_->is_shut());
  EXPECT_FALSE(NewCall()->Begin(0).ok());
  EXPECT_TRUE(connection_->is_shut());
}

TEST_F(CallChargeTest, AnswerThatIsTooMuchBecomesBusyAndThenNone) {
  const auto answered = [&](const char* kid) {
    auto call = NewCall();
    EXPECT_TRUE(call->Begin(0).ok());
    call->StartWork(call_);
    EXPECT_EQ(unproven().bytes, 0u);
    call->SetCaller("acme", kid);
    return call;
  };
  const auto first = answered("kid");
  EXPECT_EQ(first->Finish(2 * kCallBytes), CallCharge::Answer::kSend);
  const auto second = answered("kid");
  EXPECT_EQ(second->Finish(kCallBytes), CallCharge::Answer::kBusy);
  const auto third = answered("kid");
  EXPECT_EQ(third->Finish(1), CallCharge::Answer::kReset);
  // Another key of the organization has what is left of the organization's, another organization all.
  const auto fourth = answered("other");
  EXPECT_EQ(fourth->Finish(kCallBytes + 1), CallCharge::Answer::kBusy);
  auto elsewhere = NewCall();
  EXPECT_TRUE(elsewhere->Begin(0).ok());
  elsewhere->SetCaller("globex", "kid");
  EXPECT_EQ(elsewhere->Finish(2 * kCallBytes), CallCharge::Answer::kSend);
}

class Waiting final : public AwaitsMessage {
 public:
  void OnMessageOverdue() override { ++overdue; }
  int overdue = 0;
};

TEST(MessageDeadlines, EndThoseThatHaveWaitedTooLongOnceAndNoOther) {
  MessageDeadlines deadlines(seconds(10));
  MessageDeadlines::Clock::time_point now{};
  Waiting one;
  Waiting two;
  Waiting three;
  deadlines.Add(one, now);
  deadlines.Add(two, now + seconds(1));
  deadlines.Add(three, now + seconds(5));
  EXPECT_TRUE(deadlines.Remove(two));
  EXPECT_FALSE(deadlines.Remove(two));
  deadlines.Sweep(now + seconds(9));
  EXPECT_EQ(one.overdue, 0);
  deadlines.Sweep(now + seconds(12));
  EXPECT_EQ(one.overdue, 1);
  EXPECT_EQ(two.overdue, 0);
  EXPECT_EQ(three.overdue, 0);
  EXPECT_FALSE(deadlines.Remove(one)) << "it is answered already";
  EXPECT_TRUE(deadlines.Remove(three));
  deadlines.Sweep(now + seconds(100));
  EXPECT_EQ(one.overdue + two.overdue + three.overdue, 1);
}

}  // namespace
}  // namespace latchkey::rpc
