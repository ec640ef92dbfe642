#include "server/rpc/call/call.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "google/rpc/error_details.pb.h"
#include "latchkey/v1/key_verify.pb.h"
#include "server/base/errors.h"
#include "server/rpc/call/unary_method.h"
#include "tests/support/fake_transport.h"
#include "tests/support/memory_service.h"

namespace latchkey::rpc {
namespace {

using ::latchkey::testing::FakeUnaryCall;
using ::latchkey::testing::MemoryService;
using ::latchkey::testing::UnaryOutcome;
using ::testing::ElementsAre;
using ::testing::Pair;

constexpr Method kMethod = {"test/Echo", keys::kVerify, false};

std::string ReasonOf(const google::rpc::Status& status) {
  google::rpc::ErrorInfo info;
  return status.details_size() > 0 && status.details(0).UnpackTo(&info) ? info.reason() : "";
}

// Keeps what it is given.
class HeldQueue final : public base::WorkQueue {
 public:
  void Run(const std::string& share, Job job) override {
    if (full) return job(errors::WorkersBusy(kBusyRetryAfter));
    shares.push_back(share);
    jobs.push_back(std::move(job));
  }
  bool full = false;
  std::vector<std::string> shares;
  std::vector<Job> jobs;
};

class CallTest : public ::testing::Test {
 protected:
  CallTest() : caller_(service_.system_owner_string.Expose()) {}

  // Begins a call of a method that says back what it was sent.
  std::shared_ptr<UnaryOutcome> Begin(const std::string& key_string, base::WorkQueue* queue = nullptr) {
    start_ =
        UnaryMethod<v1::VerifyRequest, v1::VerifyRequest, std::string>{
            .method = kMethod,
            .parts = {.read = [](const Call&, const v1::VerifyRequest& request) -> absl::StatusOr<std::string> {
                        if (request.key().empty()) return errors::FieldInvalid("key", "not empty");
                        return request.key();
                      },
                      .workers = [queue](const std::string&) { return queue; },
                      .handler = Answering<v1::VerifyRequest, v1::VerifyRequest, std::string>(
                          [this](const Call&, const std::string& wanted, v1::VerifyRequest& response) {
                            ++worked_;
                            response.set_key(wanted);
                            return result_;
                          })}}
            .Start(dependencies_);
    v1::VerifyRequest request;
    request.set_key(sent_);
    auto outcome = std::make_shared<UnaryOutcome>();
    auto call = std::make_unique<FakeUnaryCall>(key_string, outcome);
    call_ = call.get();
    start_(std::move(call), request.SerializeAsString());
    return outcome;
  }

  MemoryService service_;
  SecurityLog security_log_{service_.clock};
  const Authenticator authenticator_{service_.verifier, security_log_};
  std::vector<std::pair<std::string, absl::StatusCode>> observed_;
  const CallDependencies dependencies_{
      .authenticator = authenticator_,
      .observer = [this](const Method& method, const absl::Status& status, absl::Duration took) {
        EXPECT_GE(took, absl::ZeroDuration());
        observed_.emplace_back(method.name, status.code());
      }};
  const std::string caller_;
  std::string sent_ = "sent";
  absl::Status result_;
  int worked_ = 0;
  MethodTable::StartUnary start_;
  FakeUnaryCall* call_ = nullptr;
};

TEST_F(CallTest, GoodCallIsAnsweredAndObservedOnce) {
  const auto outcome = Begin(caller_);
  EXPECT_EQ(outcome->Await(), 1);
  EXPECT_EQ(outcome->status().code(), 0);
  v1::VerifyRequest answer;
  ASSERT_TRUE(answer.ParseFromString(outcome->response()));
  EXPECT_EQ(answer.key(), "sent");
  EXPECT_THAT(observed_, ElementsAre(Pair("test/Echo", absl::StatusCode::kOk)));
}

TEST_F(CallTest, ErrorOfTheWorkIsItsAnswerAndNothingElseIsSent) {
  result_ = errors::KeyDeleted("k");
  const auto outcome = Begin(caller_);
  EXPECT_EQ(ReasonOf(outcome->status()), "KEY_DELETED");
  EXPECT_EQ(outcome->response(), "");
  EXPECT_THAT(observed_, ElementsAre(Pair("test/Echo", absl::StatusCode::kFailedPrecondition)));
}

TEST_F(CallTest, StrangerGetsNoPlaceInTheQueueAndIsObservedToo) {
  HeldQueue queue;
  const auto outcome = Begin("lk1_nobody", &queue);
  EXPECT_EQ(ReasonOf(outcome->status()), "CREDENTIALS_INVALID");
  EXPECT_TRUE(queue.jobs.empty());
  EXPECT_EQ(worked_, 0);
  EXPECT_THAT(observed_, ElementsAre(Pair("test/Echo", absl::StatusCode::kUnauthenticated)));
}

TEST_F(CallTest, FullQueueRefusesAtOnce) {
  HeldQueue queue;
  queue.full = true;
  const auto outcome = Begin(caller_, &queue);
  EXPECT_EQ(ReasonOf(outcome->status()), "WORKERS_BUSY");
  EXPECT_EQ(worked_, 0);
}

TEST_F(CallTest, CallWhoseCallerLeftTheQueueIsNotWorkedOn) {
  HeldQueue queue;
  const auto outcome = Begin(caller_, &queue);
  ASSERT_EQ(queue.jobs.size(), 1u);
  call_->CancelByClient();
  queue.jobs[0](absl::OkStatus());
  EXPECT_EQ(outcome->Await(), 1);
  EXPECT_EQ(outcome->status().code(), static_cast<int>(absl::StatusCode::kCancelled));
  EXPECT_EQ(worked_, 0);
}

TEST_F(CallTest, PlaceIsTakenOnBehalfOfTheCallersOrganizationOrOfAKeyOfSystem) {
  HeldQueue queue;
  Begin(caller_, &queue);
  const keys::IssuedKey other = service_.MustCreate(service_.acme_owner, "acme", "owner");
  Begin(std::string(other.key_string.Expose()), &queue);
  EXPECT_THAT(queue.shares, ElementsAre(service_.system_owner.kid, "acme"));
}

TEST_F(CallTest, RequestThatIsWrongGetsNoPlaceInTheQueue) {
  HeldQueue queue;
  sent_ = "";
  const auto outcome = Begin(caller_, &queue);
  EXPECT_EQ(ReasonOf(outcome->status()), "FIELD_INVALID");
  EXPECT_TRUE(queue.jobs.empty());
  // But a stranger is not told what a request must look like.
  EXPECT_EQ(ReasonOf(Begin("lk1_nobody", &queue)->status()), "CREDENTIALS_INVALID");
}

TEST_F(CallTest, CallerThatWasRevokedInTheQueueIsNotWorkedFor) {
  HeldQueue queue;
  const keys::IssuedKey other = service_.MustCreate(service_.acme_owner, "acme", "owner");
  const auto outcome = Begin(std::string(other.key_string.Expose()), &queue);
  ASSERT_EQ(queue.jobs.size(), 1u);
  ASSERT_TRUE(service_.registry.Delete(service_.acme_owner, {.organization = "acme", .kid = other.key.kid}).ok());
  queue.jobs[0](absl::OkStatus());
  EXPECT_EQ(outcome->Await(), 1);
  EXPECT_EQ(ReasonOf(outcome->status()), "CREDENTIALS_INVALID");
  EXPECT_EQ(worked_, 0);
}

TEST_F(CallTest, JobThatIsDroppedDoesNotLeaveItsCallerWaiting) {
  HeldQueue queue;
  const auto outcome = Begin(caller_, &queue);
  queue.jobs.clear();
  EXPECT_EQ(outcome->Await(), 1);
  EXPECT_EQ(ReasonOf(outcome->status()), "SHUTTING_DOWN");
}

}  // namespace
}  // namespace latchkey::rpc
