// The doors on a double of the transport, which plays every order of hooks that the seam allows. No gRPC: so that
// ThreadSanitizer sees all of it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "latchkey/v1/key_verify.pb.h"
#include "server/base/executor.h"
#include "server/rpc/verify/key_verify_service.h"
#include "tests/support/fake_transport.h"
#include "tests/support/memory_service.h"

namespace latchkey::rpc {
namespace {

using ::testing::AnyOf;
using testing::FakeStream;
using testing::FakeUnaryCall;
using testing::MemoryService;
using testing::UnaryOutcome;

constexpr int kOk = 0;
constexpr int kCancelled = 1;
constexpr int kUnavailable = 14;
constexpr int kUnauthenticated = 16;

class DoorsTest : public ::testing::TestWithParam<MemoryService::Proofs> {
 protected:
  void SetUp() override {
    keys::IssuedKey caller = service_.MustCreate(service_.system_owner, "system", "verifier");
    caller_ = std::string(caller.key_string.Expose());
    caller_kid_ = caller.key.kid;
    for (int i = 0; i < 8; ++i) {
      keys::IssuedKey issued = service_.MustCreate(service_.acme_owner, "acme", "viewer");
      kids_.push_back(issued.key.kid);
      keys_.emplace_back(issued.key_string.Expose());
    }
    ASSERT_TRUE(service_.follower.Renew().ok());
    door_.emplace(KeyVerifyService::Dependencies{.calls = calls_,
                                                 .verifier = service_.verifier,
                                                 .index = service_.index,
                                                 .follower = service_.follower,
                                                 .hub = service_.hub,
                                                 .uses = service_.uses,
                                                 .clock = service_.clock,
                                                 .waiting = executor_.queue(0),
                                                 .streams = 1000});
  }

  std::unique_ptr<FakeStream> Open(const std::string& method, const std::string& key_string, uint32_t seed) {
    return std::make_unique<FakeStream>(door_->methods().Find(method)->stream, key_string, seed);
  }
  std::string Batch(uint64_t id, std::mt19937& random) const {
    v1::StreamVerifyRequest request;
    request.set_batch_id(id);
    const size_t count = 1 + random() % 5;
    for (size_t i = 0; i < count; ++i) request.add_requests()->set_key(keys_[random() % keys_.size()]);
    return request.SerializeAsString();
  }
  static std::string Subscribe() {
    v1::WatchRequest request;
    request.mutable_subscribe();
    return request.SerializeAsString();
  }
  static std::string Ping(uint64_t seq, const core::RevisionToken& acknowledged = {}) {
    v1::WatchRequest request;
    request.mutable_ping()->set_seq(seq);
    if (acknowledged.revision > 0) request.mutable_ping()->set_acknowledged_revision(acknowledged.Encode());
    return request.SerializeAsString();
  }
  void Delete(const std::string& organization, const std::string& kid) {
    EXPECT_TRUE(service_.registry.Delete(service_.system_owner, {organization, kid, "", {}}).ok());
  }

  MemoryService service_{GetParam()};
  SecurityLog security_log_{service_.clock};
  Authenticator authenticator_{service_.verifier, security_log_};
  std::mutex observed_mutex_;
  std::vector<std::pair<std::string, absl::StatusCode>> observed_;
  const CallDependencies calls_{.authenticator = authenticator_,
                                .observer = [this](const Method& method, const absl::Status& status, absl::Duration) {
                                  const std::lock_guard lock(observed_mutex_);
                                  observed_.emplace_back(method.name, status.code());
                                }};
  base::Executor executor_{{{.reserved = 2, .limit = 2, .queue = 64}}, 0};
  std::optional<KeyVerifyService> door_;
  std::string caller_;
  std::string caller_kid_;
  std::vector<std::string> kids_;
  std::vector<std::string> keys_;
};

// The whole answer of every batch, once.
void ExpectEveryItemOnce(FakeStream& stream, const std::map<uint64_t, int>& sent) {
  std::map<uint64_t, std::set<uint32_t>> answered;
  while (const std::optional<std::string> bytes = stream.Take()) {
    v1::StreamVerifyResponse response;
    ASSERT_TRUE(response.ParseFromString(*bytes));
    for (const auto& result : response.results()) {
      EXPECT_TRUE(answered[response.batch_id()].insert(result.index()).second);
    }
  }
  for (const auto& [id, count] : sent) EXPECT_EQ(answered[id].size(), static_cast<size_t>(count)) << "batch " << id;
}

TEST_P(DoorsTest, StreamVerifyAnswersEveryItemOnceInAnyOrderOfHooks) {
  for (uint32_t seed = 0; seed < 40; ++seed) {
    std::mt19937 random(seed);
    const auto stream = Open("StreamVerify", caller_, seed);
    std::map<uint64_t, int> sent;
    for (uint64_t id = 1; id <= 20; ++id) {
      const std::string batch = Batch(id, random);
      v1::StreamVerifyRequest request;
      request.ParseFromString(batch);
      sent[id] = request.requests_size();
      stream->Stall(random() % 4 == 0);
      stream->Send(batch);
    }
    stream->Stall(false);
    stream->HalfClose();
    ASSERT_NO_FATAL_FAILURE(ExpectEveryItemOnce(*stream, sent));
    EXPECT_EQ(stream->AwaitEnd().code(), kOk);
  }
}

TEST_P(DoorsTest, StreamsEndOnceWhateverCancelsThemMeanwhile) {
  std::vector<std::unique_ptr<FakeStream>> streams;
  for (uint32_t seed = 0; seed < 60; ++seed) {
    streams.push_back(Open(seed % 2 == 0 ? "StreamVerify" : "Watch", caller_, seed));
  }
  std::vector<std::thread> clients;
  for (uint32_t c = 0; c < 3; ++c) {
    clients.emplace_back([&, c] {
      std::mt19937 random(c);
      for (size_t i = c; i < streams.size(); i += 3) {
        FakeStream& stream = *streams[i];
        if (i % 2 == 1) stream.Send(Subscribe());
        for (uint64_t n = 1; n < 10; ++n) stream.Send(i % 2 == 0 ? Batch(n, random) : Ping(n));
        if (random() % 3 == 0) stream.CancelByClient();
        if (random() % 3 == 0) stream.HalfClose();
        if (random() % 3 == 0) stream.Stall(true);
      }
    });
  }
  std::thread administrator([&] {
    for (size_t i = 0; i < 4; ++i) Delete("acme", kids_[i]);
    Delete("system", caller_kid_);
  });
  for (std::thread& client : clients) client.join();
  administrator.join();
  door_->StartDraining();
  // Those that were stalled end because their clients vanish.
  for (const auto& stream : streams) stream->CancelByClient();
  for (const auto& stream : streams) {
    EXPECT_THAT(stream->AwaitEnd().code(), AnyOf(kOk, kCancelled, kUnavailable, kUnauthenticated));
  }
}

TEST_P(DoorsTest, WatchTellsEveryRevocationBeforeThePongThatCoversIt) {
  for (uint32_t seed = 0; seed < 20; ++seed) {
    const auto stream = Open("Watch", caller_, seed);
    stream->Send(Subscribe());
    v1::WatchResponse message;
    ASSERT_TRUE(message.ParseFromString(stream->Take().value()));
    ASSERT_TRUE(message.has_hello());
    keys::IssuedKey doomed = service_.MustCreate(service_.acme_owner, "acme", "viewer");
    std::thread administrator([&] { Delete("acme", doomed.key.kid); });
    std::set<std::string> told;
    for (uint64_t seq = 1; seq <= 5; ++seq) {
      stream->Send(Ping(seq));
      do {
        const std::optional<std::string> bytes = stream->Take();
        ASSERT_TRUE(bytes.has_value());
        ASSERT_TRUE(message.ParseFromString(*bytes));
        for (const std::string& kid : message.invalidate().key_ids()) told.insert(kid);
      } while (!message.has_pong());
      EXPECT_EQ(message.pong().echo_seq(), seq);
    }
    administrator.join();
    stream->Send(Ping(6));
    do {
      ASSERT_TRUE(message.ParseFromString(stream->Take().value()));
      for (const std::string& kid : message.invalidate().key_ids()) told.insert(kid);
    } while (!message.has_pong());
    EXPECT_TRUE(told.contains(doomed.key.kid));
    stream->HalfClose();
    EXPECT_EQ(stream->AwaitEnd().code(), kOk);
  }
}

// It can't be judged when it pings, and could be by the time that the Pong is written.
TEST_P(DoorsTest, WatchLendsNothingToACallerWhoCouldNotBeJudged) {
  const auto stream = Open("Watch", caller_, 1);
  stream->Send(Subscribe());
  v1::WatchResponse message;
  ASSERT_TRUE(message.ParseFromString(stream->Take().value()));
  ASSERT_TRUE(message.has_hello());
  Delete("acme", kids_[0]);
  const core::RevisionToken told = service_.hub.position();
  ASSERT_TRUE(message.ParseFromString(stream->Take().value()));
  ASSERT_TRUE(message.has_invalidate());
  // An Invalidate that the client does not take holds up the Pong.
  stream->Stall(true);
  Delete("acme", kids_[1]);
  stream->AwaitUnsent();
  service_.clock.Advance(absl::Seconds(6));  // The lease is over.
  stream->Send(Ping(1, told));
  const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (service_.hub.AcknowledgedBy(told.revision, service_.clock.BootNow()).Of("acme") < told.revision) {
    ASSERT_LT(std::chrono::steady_clock::now(), give_up) << "the Ping is not taken";
    std::this_thread::yield();
  }
  ASSERT_TRUE(service_.follower.Renew().ok());
  stream->Stall(false);
  ASSERT_TRUE(message.ParseFromString(stream->Take().value()));
  ASSERT_TRUE(message.has_invalidate());
  ASSERT_TRUE(message.ParseFromString(stream->Take().value()));
  ASSERT_TRUE(message.has_pong());
  EXPECT_EQ(message.pong().echo_seq(), 1u);
  EXPECT_EQ(message.pong().remaining().seconds(), 0);
  EXPECT_EQ(message.pong().remaining().nanos(), 0);
  stream->Send(Ping(2));
  ASSERT_TRUE(message.ParseFromString(stream->Take().value()));
  ASSERT_TRUE(message.has_pong());
  EXPECT_GT(message.pong().remaining().seconds(), 0) << "it can be judged again";
  stream->HalfClose();
  EXPECT_EQ(stream->AwaitEnd().code(), kOk);
}

TEST_P(DoorsTest, RevokedCallersStreamIsEndedThoughItSaysNothing) {
  const auto verify = Open("StreamVerify", caller_, 1);
  std::mt19937 random(1);
  verify->Send(Batch(1, random));
  ASSERT_TRUE(verify->Take().has_value());
  Delete("system", caller_kid_);
  EXPECT_EQ(verify->AwaitEnd().code(), kUnauthenticated);  // Within a second, by the sweep.
  const std::lock_guard lock(observed_mutex_);
  EXPECT_THAT(observed_, ::testing::ElementsAre(::testing::Pair("latchkey.v1.KeyVerify/StreamVerify",
                                                                absl::StatusCode::kUnauthenticated)));
}

TEST_P(DoorsTest, StreamOfAClientThatReadsNothingIsGivenUpWhenTheServerStops) {
  const auto watch = Open("Watch", caller_, 1);
  watch->Stall(true);
  watch->Send(Subscribe());
  door_->StartDraining();
  EXPECT_EQ(watch->AwaitEnd().code(), kUnavailable);
}

TEST_P(DoorsTest, UnaryCallsAreAnsweredOnceEach) {
  std::vector<std::shared_ptr<UnaryOutcome>> outcomes(200);
  for (auto& outcome : outcomes) outcome = std::make_shared<UnaryOutcome>();
  std::vector<std::thread> clients;
  for (size_t c = 0; c < 4; ++c) {
    clients.emplace_back([&, c] {
      for (size_t i = c; i < outcomes.size(); i += 4) {
        v1::VerifyRequest request;
        request.set_key(keys_[i % keys_.size()]);
        door_->methods().Find("Verify")->unary(std::make_unique<FakeUnaryCall>(caller_, outcomes[i]),
                                               request.SerializeAsString());
      }
    });
  }
  for (std::thread& client : clients) client.join();
  for (const auto& outcome : outcomes) {
    EXPECT_EQ(outcome->Await(), 1);
    // Many ask for proofs of the same few strings at once, which one thread makes.
    EXPECT_THAT(outcome->status().code(), AnyOf(kOk, 8)) << outcome->status().message();
    v1::VerifyResponse response;
    ASSERT_TRUE(response.ParseFromString(outcome->response()));
    if (outcome->status().code() == kOk) {
      EXPECT_EQ(response.decision(), v1::DECISION_ALLOWED);
    }
  }
}

TEST_P(DoorsTest, BytesThatAreNoMessageAreNotAnsweredAsACall) {
  const auto outcome = std::make_shared<UnaryOutcome>();
  door_->methods().Find("Verify")->unary(std::make_unique<FakeUnaryCall>(caller_, outcome), "\xff\xff");
  EXPECT_EQ(outcome->Await(), 1);
  EXPECT_EQ(outcome->status().code(), static_cast<int>(absl::StatusCode::kUnimplemented));
}

INSTANTIATE_TEST_SUITE_P(Proofs, DoorsTest,
                         ::testing::Values(MemoryService::Proofs::kShared, MemoryService::Proofs::kMemory));

}  // namespace
}  // namespace latchkey::rpc
