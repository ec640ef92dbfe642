#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <string>
#include <thread>

#include "tests/rpc/rpc_server_fixture.h"

// StreamVerify over a real connection.
namespace latchkey::rpc {
namespace {

class StreamVerifyRpc : public RpcServerFixture {
 protected:
  explicit StreamVerifyRpc(MemoryService::Proofs proofs = MemoryService::Proofs::kShared) : RpcServerFixture(proofs) {}

  using Stream = grpc::ClientReaderWriter<v1::StreamVerifyRequest, v1::StreamVerifyResponse>;

  void Open(const std::string& caller) {
    context_ = With(caller);
    stream_ = verify_->StreamVerify(context_.get());
  }
  static v1::StreamVerifyRequest Batch(uint64_t id, const std::vector<std::string>& keys) {
    v1::StreamVerifyRequest request;
    request.set_batch_id(id);
    for (const std::string& key : keys) request.add_requests()->set_key(key);
    return request;
  }
  // Reads until `count` items are answered.
  std::map<std::pair<uint64_t, uint32_t>, v1::VerifyResult> Results(size_t count) {
    std::map<std::pair<uint64_t, uint32_t>, v1::VerifyResult> results;
    v1::StreamVerifyResponse response;
    while (results.size() < count && stream_->Read(&response)) {
      for (const auto& one : response.results()) {
        const bool is_new = results.emplace(std::pair(response.batch_id(), one.index()), one.result()).second;
        EXPECT_TRUE(is_new) << "batch " << response.batch_id() << " item " << one.index() << " twice";
      }
    }
    EXPECT_EQ(results.size(), count);
    return results;
  }
  // Nothing more comes; the stream's end.
  grpc::Status End() {
    v1::StreamVerifyResponse response;
    EXPECT_FALSE(stream_->Read(&response));
    return stream_->Finish();
  }
  grpc::Status EndOf(const v1::StreamVerifyRequest& request) {
    Open(verifier_key_);
    EXPECT_TRUE(stream_->Write(request));
    return End();
  }

  // Whose window a client that does not read fills alone.
  std::unique_ptr<v1::KeyVerify::Stub> OnAnotherConnection() const {
    grpc::ChannelArguments narrow;
    narrow.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
    return v1::KeyVerify::NewStub(
        grpc::CreateCustomChannel("127.0.0.1:" + std::to_string(port_), grpc::InsecureChannelCredentials(), narrow));
  }
  static bool SaysWhenToRetry(const grpc::Status& status) {
    google::rpc::Status details;
    google::rpc::RetryInfo retry;
    if (!details.ParseFromString(status.error_details())) return false;
    return std::any_of(details.details().begin(), details.details().end(),
                       [&](const auto& detail) { return detail.UnpackTo(&retry); });
  }

  std::unique_ptr<grpc::ClientContext> context_;
  std::unique_ptr<Stream> stream_;
};

// No secret is proven but those that this server has met.
class StreamVerifyOfUnproven : public StreamVerifyRpc {
 protected:
  StreamVerifyOfUnproven() : StreamVerifyRpc(MemoryService::Proofs::kMemory) {}
};

TEST_F(StreamVerifyRpc, AnswersEachItemOfEachBatch) {
  Open(verifier_key_);
  for (uint64_t id = 1; id <= 20; ++id) {
    ASSERT_TRUE(stream_->Write(Batch(id, {acme_key_, "garbage", verifier_key_})));
  }
  auto results = Results(60);
  for (uint64_t id = 1; id <= 20; ++id) {
    EXPECT_EQ((results[{id, 0}].response().identity().organization()), "acme");
    EXPECT_EQ((results[{id, 1}].response().decision()), v1::DECISION_MALFORMED);
    EXPECT_FALSE((results[{id, 1}].response().has_identity()));
    EXPECT_EQ((results[{id, 2}].response().decision()), v1::DECISION_ALLOWED);
    EXPECT_FALSE((results[{id, 2}].response().revision().token().empty()));
  }
  stream_->WritesDone();
  EXPECT_THAT(End(), Succeeds());
}

TEST_F(StreamVerifyRpc, AnswersOfSeveralShapesDoNotMixInReusedMessages) {
  Open(verifier_key_);
  v1::StreamVerifyRequest wrong = Batch(0, {acme_key_, acme_key_, acme_key_});
  wrong.mutable_requests(1)->mutable_client()->set_ip("nowhere");
  uint64_t id = 0;
  for (int round = 0; round < 10; ++round) {
    wrong.set_batch_id(++id);
    ASSERT_TRUE(stream_->Write(wrong));
    auto three = Results(3);
    EXPECT_EQ((three[{id, 0}].response().decision()), v1::DECISION_ALLOWED);
    google::rpc::Status error = three[{id, 1}].error();
    EXPECT_EQ(FieldOf(error), "requests[1].client.ip");
    EXPECT_EQ((three[{id, 2}].response().decision()), v1::DECISION_ALLOWED);
    ASSERT_TRUE(stream_->Write(Batch(++id, {"garbage"})));
    EXPECT_EQ((Results(1)[{id, 0}].response().decision()), v1::DECISION_MALFORMED);
    ASSERT_TRUE(stream_->Write(Batch(++id, {"garbage", acme_key_})));
    auto two = Results(2);
    EXPECT_FALSE((two[{id, 0}].response().has_identity()));
    EXPECT_EQ((two[{id, 1}].response().identity().organization()), "acme");
  }
  stream_->WritesDone();
  EXPECT_THAT(End(), Succeeds());
}

TEST_F(StreamVerifyOfUnproven, SlowItemsComeLaterAndHalfCloseWaitsForThem) {
  Open(verifier_key_);
  std::vector<std::string> batch = {"garbage"};
  for (int i = 0; i < 3; ++i) batch.insert(batch.end(), {acme_key_, operator_key_});
  ASSERT_TRUE(stream_->Write(Batch(1, batch)));
  stream_->WritesDone();
  // What memory decides comes at once and alone.
  v1::StreamVerifyResponse first;
  ASSERT_TRUE(stream_->Read(&first));
  ASSERT_EQ(first.results_size(), 1);
  EXPECT_EQ(first.results(0).index(), 0u);
  auto results = Results(6);
  for (uint32_t i = 1; i <= 6; ++i) {
    EXPECT_EQ((results[{1, i}].response().decision()), v1::DECISION_ALLOWED);
  }
  EXPECT_THAT(End(), Succeeds());
}

TEST_F(StreamVerifyOfUnproven, UnprovenCallerIsProvenFirst) {
  Open(operator_key_);
  ASSERT_TRUE(stream_->Write(Batch(1, {"garbage"})));
  EXPECT_EQ((Results(1)[{1, 0}].response().decision()), v1::DECISION_MALFORMED);
  context_->TryCancel();
  EXPECT_EQ(End().error_code(), grpc::StatusCode::CANCELLED);
}

TEST_F(StreamVerifyRpc, BatchThatIsWrongEndsTheStream) {
  EXPECT_THAT(EndOf(Batch(1, {})), BlamesField("requests"));
  EXPECT_THAT(EndOf(Batch(1, std::vector<std::string>(65, "x"))), BlamesField("requests"));
  v1::StreamVerifyRequest request = Batch(1, {"x"});
  request.mutable_timeout()->set_seconds(61);
  EXPECT_THAT(EndOf(request), BlamesField("timeout"));
}

TEST_F(StreamVerifyRpc, MinRevisionWaitsAndADuplicateOfABatchInFlightEndsTheStream) {
  const v1::CreateKeyResponse created = MustCreate("viewer");
  OtherServer other(service_);
  const core::RevisionToken deleted = other.Delete(created.key());
  Open(verifier_key_);
  v1::StreamVerifyRequest request = Batch(1, {created.key_string(), created.key_string()});
  request.mutable_requests(1)->set_min_revision(deleted.Encode());
  ASSERT_TRUE(stream_->Write(request));
  auto results = Results(2);
  EXPECT_EQ((results[{1, 0}].response().decision()), v1::DECISION_ALLOWED);
  EXPECT_EQ((results[{1, 1}].response().decision()), v1::DECISION_REVOKED);
  // It is over, and its number free again.
  ASSERT_TRUE(stream_->Write(Batch(1, {"x"})));
  EXPECT_EQ(Results(1).size(), 1u);
  stream_->WritesDone();
  EXPECT_THAT(End(), Succeeds());
}

TEST_F(StreamVerifyRpc, CallerThatIsRevokedEndsItsOpenStream) {
  Open(verifier_key_);
  ASSERT_TRUE(stream_->Write(Batch(1, {acme_key_})));
  ASSERT_EQ(Results(1).size(), 1u);
  MustDelete(operator_key_, core::KeyNameOf("system", verifier_kid_));
  stream_->Write(Batch(2, {acme_key_}));  // False if the sweep was faster.
  EXPECT_THAT(End(), Fails(grpc::StatusCode::UNAUTHENTICATED, "CREDENTIALS_INVALID"));
}

TEST_F(StreamVerifyRpc, CallerThatLosesItsPermissionEndsItsOpenStream) {
  Open(verifier_key_);
  ASSERT_TRUE(stream_->Write(Batch(1, {acme_key_})));
  ASSERT_EQ(Results(1).size(), 1u);
  v1::UpdateKeyRequest lower;
  lower.mutable_key()->set_name(core::KeyNameOf("system", verifier_kid_));
  lower.mutable_key()->set_role("viewer");
  v1::Key key;
  ASSERT_THAT(admin_->UpdateKey(With(operator_key_).get(), lower, &key), Succeeds());
  stream_->Write(Batch(2, {acme_key_}));  // False if the sweep was faster.
  EXPECT_THAT(End(), Fails(grpc::StatusCode::PERMISSION_DENIED, "PERMISSION_MISSING"));
}

TEST_F(StreamVerifyRpc, CallerThatIsRevokedEndsItsStreamThoughItSendsNothing) {
  Open(verifier_key_);
  ASSERT_TRUE(stream_->Write(Batch(1, {acme_key_})));
  ASSERT_EQ(Results(1).size(), 1u);
  MustDelete(operator_key_, core::KeyNameOf("system", verifier_kid_));
  EXPECT_THAT(End(), Fails(grpc::StatusCode::UNAUTHENTICATED, "CREDENTIALS_INVALID"));
}

TEST_F(StreamVerifyRpc, CallerThatLosesItsPermissionEndsItsStreamThoughItSendsNothing) {
  Open(verifier_key_);
  ASSERT_TRUE(stream_->Write(Batch(1, {acme_key_})));
  ASSERT_EQ(Results(1).size(), 1u);
  v1::UpdateKeyRequest lower;
  lower.mutable_key()->set_name(core::KeyNameOf("system", verifier_kid_));
  lower.mutable_key()->set_role("viewer");
  v1::Key key;
  ASSERT_THAT(admin_->UpdateKey(With(operator_key_).get(), lower, &key), Succeeds());
  EXPECT_THAT(End(), Fails(grpc::StatusCode::PERMISSION_DENIED, "PERMISSION_MISSING"));
}

TEST_F(StreamVerifyRpc, OneKeyHoldsHalfOfTheStreamsAtMost) {
  constexpr int kEach = kStreams / 2;
  const v1::StreamVerifyRequest batch = Batch(1, {"garbage"});
  v1::StreamVerifyResponse answer;
  std::vector<std::pair<std::unique_ptr<grpc::ClientContext>, std::unique_ptr<Stream>>> held;
  for (int i = 0; i < kEach; ++i) {
    Open(verifier_key_);
    ASSERT_TRUE(stream_->Write(batch));
    ASSERT_TRUE(stream_->Read(&answer)) << i;
    held.emplace_back(std::move(context_), std::move(stream_));
  }
  Open(verifier_key_);
  const grpc::Status refused = End();
  EXPECT_THAT(refused, Fails(grpc::StatusCode::RESOURCE_EXHAUSTED, "WORKERS_BUSY"));
  EXPECT_TRUE(SaysWhenToRetry(refused));
  // Nobody else is in its way.
  Open(operator_key_);
  ASSERT_TRUE(stream_->Write(batch));
  EXPECT_TRUE(stream_->Read(&answer));
  // Each place is free again once its stream has ended.
  for (auto& [context, stream] : held) {
    context->TryCancel();
    EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::CANCELLED);
  }
  EXPECT_TRUE(Eventually([&] {
    Open(verifier_key_);
    return stream_->Write(batch) && stream_->Read(&answer);
  }));
}

TEST_F(StreamVerifyRpc, BadCallerIsRefusedAtOnce) {
  Open("");
  EXPECT_THAT(End(), Fails(grpc::StatusCode::UNAUTHENTICATED, "CREDENTIALS_MISSING"));
  Open(MustCreate("viewer").key_string());
  EXPECT_THAT(End(), Fails(grpc::StatusCode::PERMISSION_DENIED, "PERMISSION_MISSING"));
}

TEST_F(StreamVerifyRpc, WithoutALeaseItemsAreUndecidedAndTheStreamGoesOn) {
  Open(verifier_key_);
  ASSERT_TRUE(stream_->Write(Batch(1, {acme_key_})));
  ASSERT_EQ(Results(1).size(), 1u);
  service_.Advance(absl::Hours(1));
  ASSERT_TRUE(stream_->Write(Batch(2, {acme_key_, verifier_key_})));
  auto results = Results(2);
  EXPECT_EQ((results[{2, 0}].error().code()), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ((results[{2, 1}].error().code()), grpc::StatusCode::UNAVAILABLE);
  ASSERT_TRUE(service_.follower.Renew().ok());
  ASSERT_TRUE(stream_->Write(Batch(3, {acme_key_})));
  EXPECT_EQ((Results(1)[{3, 0}].response().decision()), v1::DECISION_ALLOWED);
  stream_->WritesDone();
  EXPECT_THAT(End(), Succeeds());
}

TEST_F(StreamVerifyRpc, AsksForItsOwnOrganizationOnly) {
  Open(MustCreate("verifier").key_string());
  ASSERT_TRUE(stream_->Write(Batch(1, {acme_key_, operator_key_})));
  auto results = Results(2);
  EXPECT_EQ((results[{1, 0}].response().decision()), v1::DECISION_ALLOWED);
  EXPECT_EQ((results[{1, 1}].response().decision()), v1::DECISION_NOT_FOUND);
  stream_->WritesDone();
  EXPECT_THAT(End(), Succeeds());
}

TEST_F(StreamVerifyRpc, DrainingServerEndsOpenStreamsAndRefusesNewOnes) {
  Open(verifier_key_);
  ASSERT_TRUE(stream_->Write(Batch(1, {acme_key_})));
  ASSERT_EQ(Results(1).size(), 1u);
  std::thread drain([this] { server_.Drain(absl::Seconds(30)); });
  EXPECT_THAT(End(), Fails(grpc::StatusCode::UNAVAILABLE, "SHUTTING_DOWN"));
  drain.join();
}

TEST_F(StreamVerifyRpc, ClientThatDoesNotReadIsNotReadFromEither) {
  Open(verifier_key_);
  // Far more than what fits in the windows of a connection, if nobody reads the answers.
  std::atomic<uint64_t> written{0};
  std::thread writer([&] {
    const std::vector<std::string> keys(64, acme_key_);
    for (uint64_t id = 1; id <= 3000 && stream_->Write(Batch(id, keys)); ++id) written = id;
    stream_->WritesDone();
  });
  // All of it is answered once it is read: nothing was lost on the way.
  const auto results = Results(size_t{3000} * 64);
  writer.join();
  EXPECT_EQ(written, 3000u);
  EXPECT_THAT(End(), Succeeds());
}

TEST_F(StreamVerifyRpc, ClientThatReadsNothingForHalfAMinuteIsEndedAndAnIdleOneIsNot) {
  Open(verifier_key_);
  ASSERT_TRUE(stream_->Write(Batch(1, {acme_key_})));
  ASSERT_EQ(Results(1).size(), 1u);
  const std::unique_ptr<v1::KeyVerify::Stub> stub = OnAnotherConnection();
  const std::unique_ptr<grpc::ClientContext> context = With(verifier_key_);
  const std::unique_ptr<Stream> stuck = stub->StreamVerify(context.get());
  // Its caller is known before the lease is over.
  v1::StreamVerifyResponse read;
  ASSERT_TRUE(stuck->Write(Batch(0, {acme_key_})) && stuck->Read(&read));
  std::atomic<bool> ended = false;
  std::thread writer([&] {
    const std::vector<std::string> keys(64, acme_key_);
    for (uint64_t id = 1; stuck->Write(Batch(id, keys)); ++id) {
    }
    ended = true;
  });
  EXPECT_TRUE(Eventually([&] {
    service_.clock.Advance(absl::Seconds(31));
    return ended.load();
  }));
  if (!ended) context->TryCancel();
  writer.join();
  while (stuck->Read(&read)) {
  }
  // By the server, not by its deadline.
  EXPECT_EQ(stuck->Finish().error_code(), grpc::StatusCode::CANCELLED);
  // The other could not be judged meanwhile, and had nothing to write.
  ASSERT_TRUE(service_.follower.Renew().ok());
  ASSERT_TRUE(stream_->Write(Batch(2, {acme_key_})));
  EXPECT_EQ((Results(1)[{2, 0}].response().decision()), v1::DECISION_ALLOWED);
}

TEST_F(StreamVerifyOfUnproven, ClientThatVanishesWithItemsInFlightDoesNoHarm) {
  for (int i = 0; i < 20; ++i) {
    const v1::CreateKeyResponse created = MustCreate("viewer");
    v1::StreamVerifyRequest batch = Batch(1, {acme_key_, "x", created.key_string()});
    batch.mutable_requests(2)->set_fresh(true);
    Open(operator_key_);
    ASSERT_TRUE(stream_->Write(batch));
    context_->TryCancel();
    v1::StreamVerifyResponse response;
    while (stream_->Read(&response)) {
    }
    EXPECT_EQ(stream_->Finish().error_code(), grpc::StatusCode::CANCELLED);
  }
  v1::VerifyResponse verdict;
  EXPECT_THAT(Verify(verifier_key_, acme_key_, &verdict), Succeeds());
}

}  // namespace
}  // namespace latchkey::rpc
