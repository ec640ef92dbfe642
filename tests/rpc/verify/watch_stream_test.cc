#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "tests/rpc/rpc_server_fixture.h"

// Watch over a real connection.
namespace latchkey::rpc {
namespace {

using ::testing::ElementsAre;

class WatchRpc : public RpcServerFixture {
 protected:
  explicit WatchRpc(MemoryService::Proofs proofs = MemoryService::Proofs::kShared) : RpcServerFixture(proofs) {}

  void Open(const std::string& caller) {
    context_ = With(caller);
    stream_ = verify_->Watch(context_.get());
    seq_ = 0;
  }
  void Subscribe(const std::vector<std::string>& organizations = {}, const std::string& resume = "") {
    v1::WatchRequest request;
    v1::WatchRequest::Subscribe& subscribe = *request.mutable_subscribe();
    for (const std::string& organization : organizations) subscribe.add_organizations(organization);
    subscribe.set_resume_revision(resume);
    EXPECT_TRUE(stream_->Write(request));
  }
  void Ping(const std::string& acknowledged = "") {
    v1::WatchRequest request;
    request.mutable_ping()->set_seq(++seq_);
    request.mutable_ping()->set_acknowledged_revision(acknowledged);
    EXPECT_TRUE(stream_->Write(request));
  }
  v1::WatchResponse Next() {
    v1::WatchResponse response;
    EXPECT_TRUE(stream_->Read(&response));
    return response;
  }
  v1::WatchResponse::Hello Hello() {
    const v1::WatchResponse response = Next();
    EXPECT_TRUE(response.has_hello());
    return response.hello();
  }
  // Pings and reads up to the answer.
  v1::WatchResponse::Pong PingPong(const std::string& acknowledged = "") {
    Ping(acknowledged);
    for (;;) {
      v1::WatchResponse response;
      if (!stream_->Read(&response)) {
        ADD_FAILURE() << "the stream has ended";
        return {};
      }
      Note(response);
      if (!response.has_pong()) continue;
      EXPECT_EQ(response.pong().echo_seq(), seq_);
      return response.pong();
    }
  }
  void Note(const v1::WatchResponse& response) {
    for (const std::string& kid : response.invalidate().key_ids()) kids_.insert(kid);
    for (const std::string& role : response.invalidate().roles()) roles_.insert(role);
    for (const std::string& organization : response.invalidate().organizations()) organizations_.insert(organization);
  }
  grpc::Status End() {
    v1::WatchResponse response;
    EXPECT_FALSE(stream_->Read(&response));
    return stream_->Finish();
  }
  static std::string KidOf(const v1::Key& key) { return core::ParseKeyName(key.name())->kid; }

  std::unique_ptr<grpc::ClientContext> context_;
  std::unique_ptr<grpc::ClientReaderWriter<v1::WatchRequest, v1::WatchResponse>> stream_;
  uint64_t seq_ = 0;
  std::set<std::string> kids_;
  std::set<std::string> roles_;
  std::set<std::string> organizations_;
};

class WatchOfUnproven : public WatchRpc {
 protected:
  WatchOfUnproven() : WatchRpc(MemoryService::Proofs::kMemory) {}
};

TEST_F(WatchRpc, HelloComesFirstAndAPongLendsWhatIsLeftOfTheLease) {
  Open(verifier_key_);
  Subscribe();
  const v1::WatchResponse::Hello hello = Hello();
  EXPECT_FALSE(hello.resumed());
  EXPECT_EQ(hello.max_staleness().seconds(), 5);
  EXPECT_EQ(hello.sub_revision().number(), service_.index.position().rev);
  EXPECT_FALSE(hello.sub_revision().token().empty());
  EXPECT_EQ(hello.history(), service_.index.Read().history);
  EXPECT_NE(hello.history(), 0);
  const v1::WatchResponse::Pong pong = PingPong();
  EXPECT_EQ(pong.history(), hello.history());
  EXPECT_EQ(pong.remaining().seconds(), 5);
  EXPECT_EQ(pong.revision().token(), hello.sub_revision().token());
  service_.clock.Advance(absl::Milliseconds(1500));
  EXPECT_EQ(PingPong().remaining().seconds(), 3);
}

TEST_F(WatchRpc, EveryChangeIsToldByItselfAndBeforeThePongThatCoversIt) {
  Open(verifier_key_);
  Subscribe();
  Hello();
  const v1::CreateKeyResponse created = MustCreate("viewer");
  // Without a ping.
  v1::WatchResponse told = Next();
  ASSERT_TRUE(told.has_invalidate());
  EXPECT_THAT(told.invalidate().key_ids(), ElementsAre(KidOf(created.key())));
  EXPECT_EQ(told.invalidate().revision().token(), created.key().revision().token());
  const v1::Key deleted = MustDelete(acme_key_, created.key().name());
  service_.PutRole("acme", "deployer", {"app.deploy"});
  service_.DeleteOrganization("acme");
  while (!HasFailure() && PingPong().revision().number() < service_.index.position().rev) {
  }
  EXPECT_THAT(kids_, ElementsAre(KidOf(created.key())));
  EXPECT_THAT(roles_, ElementsAre("organizations/acme/roles/deployer"));
  EXPECT_THAT(organizations_, ElementsAre("acme"));
}

TEST_F(WatchRpc, ManyChangesComeInMessagesOfAThousandAtMost) {
  Open(verifier_key_);
  Subscribe();
  Hello();
  // From another server, so that they arrive together.
  OtherServer other(service_);
  std::set<std::string> wanted;
  for (int i = 0; i < 60; ++i) wanted.insert(KidOf(MustCreate("viewer").key()));
  const v1::WatchResponse::Pong pong = PingPong();
  EXPECT_EQ(pong.revision().number(), service_.index.position().rev);
  EXPECT_EQ(kids_, wanted);
}

// A client that does not read holds the writer up; the Ping is there before the changes can be written.
TEST_F(WatchRpc, PongComesAfterTheChangesThatWaitedWithIt) {
  grpc::ChannelArguments narrow;  // Little is on the way to a client that does not read.
  narrow.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  narrow.SetInt(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, 1'024);
  const std::unique_ptr<v1::KeyVerify::Stub> slow = v1::KeyVerify::NewStub(
      grpc::CreateCustomChannel("127.0.0.1:" + std::to_string(port_), grpc::InsecureChannelCredentials(), narrow));
  context_ = With(verifier_key_);
  stream_ = slow->Watch(context_.get());
  Subscribe();
  Hello();
  service_.PutRole("acme", "first", {"app.deploy"});
  const keys::LogPosition first = service_.index.position();
  ASSERT_TRUE(Next().has_invalidate());
  // gRPC takes 64 KiB off the server's hands; these are four times as much.
  constexpr int kRoles = 3'000;
  for (int i = 0; i < kRoles; ++i) {
    service_.PutRole("acme", "deployer-of-" + std::to_string(i) + std::string(32, 'x'), {"app.deploy"});
  }
  const keys::LogPosition head = service_.index.position();
  Ping(core::RevisionToken::Of(first.rev, first.chain).Encode());
  // The Ping has been taken in, as its acknowledgement shows.
  ASSERT_TRUE(Eventually(
      [&] { return service_.hub.AcknowledgedBy(head.rev, service_.clock.BootNow()).oldest() == first.rev; }));
  while (true) {
    const v1::WatchResponse response = Next();
    Note(response);
    if (!response.has_invalidate()) {
      EXPECT_EQ(response.pong().revision().number(), head.rev);
      break;
    }
  }
  EXPECT_EQ(roles_.size(), kRoles);
  context_->TryCancel();
  stream_->Finish();
}

TEST_F(WatchRpc, HelloSaysTheOldBoundWhileItsLeasesMayBeOut) {
  const auto said = [this] {
    Open(verifier_key_);
    Subscribe();
    const auto seconds = Hello().max_staleness().seconds();
    context_->TryCancel();
    stream_->Finish();
    return seconds;
  };
  service_.SetBound(absl::Seconds(2));
  ASSERT_TRUE(service_.follower.Renew().ok());
  EXPECT_EQ(said(), 5);
  service_.Advance(absl::Seconds(6));
  ASSERT_TRUE(service_.follower.Renew().ok());
  EXPECT_EQ(said(), 2);
}

TEST_F(WatchRpc, StreamThatWasToldAnotherBoundEndsAndItsResumptionIsToldTheNewOne) {
  Open(verifier_key_);
  Subscribe();
  v1::WatchResponse::Hello hello = Hello();
  ASSERT_EQ(hello.max_staleness().seconds(), 5);
  const auto resume = [&] {
    const grpc::Status ended = End();
    EXPECT_THAT(ended, Fails(grpc::StatusCode::UNAVAILABLE, "WATCH_ENDED"));
    EXPECT_THAT(ended.error_message(), ::testing::HasSubstr("bound"));
    Open(verifier_key_);
    Subscribe({}, hello.sub_revision().token());
    hello = Hello();
    EXPECT_TRUE(hello.resumed());
  };
  // Raised: at once.
  service_.SetBound(absl::Seconds(10));
  ASSERT_TRUE(service_.follower.Renew().ok());
  resume();
  EXPECT_EQ(hello.max_staleness().seconds(), 10);
  PingPong();
  // Lowered: once the old one's leases are over.
  service_.SetBound(absl::Seconds(2));
  ASSERT_TRUE(service_.follower.Renew().ok());
  PingPong();
  service_.Advance(absl::Seconds(11));
  ASSERT_TRUE(service_.follower.Renew().ok());
  resume();
  EXPECT_EQ(hello.max_staleness().seconds(), 2);
  // Which stays.
  EXPECT_GT(PingPong().remaining().seconds(), 0);
}

TEST_F(WatchRpc, OneKeyHoldsHalfOfTheStreamsAtMost) {
  constexpr int kEach = kStreams / 2;
  std::vector<std::pair<decltype(context_), decltype(stream_)>> held;
  for (int i = 0; i < kEach; ++i) {
    Open(verifier_key_);
    Subscribe();
    Hello();
    held.emplace_back(std::move(context_), std::move(stream_));
  }
  Open(verifier_key_);
  EXPECT_THAT(End(), Fails(grpc::StatusCode::RESOURCE_EXHAUSTED, "WORKERS_BUSY"));
  // Nobody else is in its way.
  Open(operator_key_);
  Subscribe();
  Hello();
  // Each place is free again once its stream has ended.
  for (auto& [context, stream] : held) {
    context->TryCancel();
    EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::CANCELLED);
  }
  EXPECT_TRUE(Eventually([this] {
    Open(verifier_key_);
    v1::WatchRequest request;
    request.mutable_subscribe();
    v1::WatchResponse response;
    return stream_->Write(request) && stream_->Read(&response);
  }));
}

TEST_F(WatchRpc, CallerHearsOnlyOfWhatItMayVerify) {
  Open(MustCreate("verifier").key_string());
  Subscribe();
  Hello();
  service_.MustCreate(service_.system_owner, "system", "viewer");
  const v1::Key own = MustCreate("viewer").key();
  PingPong();
  EXPECT_THAT(kids_, ElementsAre(KidOf(own)));
  stream_->WritesDone();
  EXPECT_THAT(End(), Succeeds());

  Open(MustCreate("verifier").key_string());
  Subscribe({"acme", "system"});
  EXPECT_THAT(End(), Fails(grpc::StatusCode::INVALID_ARGUMENT, "FIELD_NOT_SUPPORTED"));
}

TEST_F(WatchRpc, SubscriberOfOneOrganizationHearsOfNoOther) {
  Open(verifier_key_);
  Subscribe({"system"});
  Hello();
  MustCreate("viewer");
  const std::string kid = service_.MustCreate(service_.system_owner, "system", "viewer").key.kid;
  const v1::WatchResponse::Pong pong = PingPong();
  EXPECT_THAT(kids_, ElementsAre(kid));
  EXPECT_EQ(pong.revision().number(), service_.index.position().rev);
}

TEST_F(WatchRpc, StreamIsResumedWhereItEndedUnlessThatIsAnotherHistory) {
  Open(verifier_key_);
  Subscribe();
  const std::string from = Hello().sub_revision().token();
  stream_->WritesDone();
  EXPECT_THAT(End(), Succeeds());
  const v1::Key missed = MustCreate("viewer").key();

  Open(verifier_key_);
  Subscribe({}, from);
  EXPECT_TRUE(Hello().resumed());
  PingPong();
  EXPECT_THAT(kids_, ElementsAre(KidOf(missed)));
  context_->TryCancel();
  EXPECT_EQ(End().error_code(), grpc::StatusCode::CANCELLED);

  core::RevisionToken other = *core::RevisionToken::Decode(from);
  other.chain[0] = static_cast<char>(other.chain[0] ^ 1);
  Open(verifier_key_);
  Subscribe({}, other.Encode());
  EXPECT_FALSE(Hello().resumed());
}

TEST_F(WatchRpc, WithoutALeaseThePongLendsNothingAndChangesAreStillTold) {
  Open(verifier_key_);
  Subscribe();
  Hello();
  OtherServer other(service_);
  const v1::Key key = MustCreate("viewer").key();
  service_.Advance(absl::Hours(1));
  v1::WatchResponse::Pong pong = PingPong();
  EXPECT_EQ(pong.remaining().seconds(), 0);
  EXPECT_EQ(pong.remaining().nanos(), 0);
  EXPECT_THAT(kids_, ElementsAre(KidOf(key)));
  ASSERT_TRUE(service_.follower.Renew().ok());
  pong = PingPong();
  EXPECT_EQ(pong.remaining().seconds(), 5);
}

TEST_F(WatchRpc, CallerThatIsRevokedEndsItsOpenStream) {
  Open(verifier_key_);
  Subscribe();
  Hello();
  MustDelete(operator_key_, core::KeyNameOf("system", verifier_kid_));
  v1::WatchRequest ping;
  ping.mutable_ping()->set_seq(1);
  // It may have ended already: there was something to tell.
  static_cast<void>(stream_->Write(ping));
  EXPECT_THAT(End(), Fails(grpc::StatusCode::UNAUTHENTICATED, "CREDENTIALS_INVALID"));
}

TEST_F(WatchRpc, RewrittenHistoryEndsTheStream) {
  Open(verifier_key_);
  Subscribe();
  Hello();
  service_.store.ReplaceChain();
  static_cast<void>(service_.follower.Renew());
  EXPECT_THAT(End(), Fails(grpc::StatusCode::UNAVAILABLE, "WATCH_ENDED"));
  EXPECT_EQ(service_.hub.stream_count(), 0u);
}

TEST_F(WatchRpc, AcknowledgementOfThePingReachesTheHub) {
  Open(verifier_key_);
  Subscribe();
  Hello();
  const v1::Key key = MustCreate("viewer").key();
  const int64_t before = key.revision().number() - 1;
  const auto acknowledged = [this] { return service_.hub.AcknowledgedBy(1'000'000, service_.clock.BootNow()); };
  EXPECT_EQ(acknowledged().Of("acme"), before);
  EXPECT_EQ(acknowledged().Of("other"), 1'000'000);
  PingPong();
  EXPECT_EQ(acknowledged().Of("acme"), before);
  PingPong(key.revision().token());
  EXPECT_EQ(acknowledged().Of("acme"), 1'000'000);
}

TEST_F(WatchRpc, AcknowledgementOfWhatWasNotToldCountsForNothing) {
  Open(verifier_key_);
  Subscribe();
  const v1::WatchResponse::Hello hello = Hello();
  core::RevisionToken ahead = *core::RevisionToken::Decode(hello.sub_revision().token());
  ahead.revision += 1000;
  PingPong(ahead.Encode());
  const v1::Key key = MustCreate("viewer").key();
  const storage::Acknowledgements acknowledged = service_.hub.AcknowledgedBy(1'000'000, service_.clock.BootNow());
  EXPECT_EQ(acknowledged.Of("acme"), key.revision().number() - 1);
}

TEST_F(WatchRpc, StreamThatPingsAndAcknowledgesNothingIsEndedAfterTheBound) {
  Open(verifier_key_);
  Subscribe();
  Hello();
  MustCreate("viewer");
  const absl::Duration bound = service_.follower.promised_bound();
  // As long as there is nothing it has not acknowledged, it may be silent about it.
  for (absl::Duration passed; passed < bound; passed += absl::Seconds(1)) {
    PingPong();
    service_.clock.Advance(absl::Seconds(1));
    ASSERT_TRUE(service_.follower.Renew().ok());
  }
  service_.clock.Advance(absl::Seconds(1));
  EXPECT_THAT(End(), Fails(grpc::StatusCode::UNAVAILABLE, "WATCH_ENDED"));
}

TEST_F(WatchRpc, SilentStreamOfARevokedCallerIsToldNothingMore) {
  const v1::CreateKeyResponse made = MustCreate("verifier");
  Open(made.key_string());
  Subscribe();
  Hello();
  MustDelete(acme_key_, made.key().name());
  // It never says a word; the deletion of its own key is the first thing that it is not told.
  EXPECT_THAT(End(), Fails(grpc::StatusCode::UNAUTHENTICATED, "CREDENTIALS_INVALID"));
}

TEST_F(WatchRpc, MessagesOutOfOrderEndTheStream) {
  Open(verifier_key_);
  Ping();
  EXPECT_THAT(End(), BlamesField("subscribe"));
  Open(verifier_key_);
  Subscribe();
  Hello();
  Subscribe();
  EXPECT_THAT(End(), BlamesField("ping"));
  Open(verifier_key_);
  Subscribe();
  Hello();
  PingPong();
  seq_ = 0;
  Ping();
  EXPECT_THAT(End(), BlamesField("ping.seq"));
  Open(verifier_key_);
  Subscribe({}, "nonsense");
  EXPECT_THAT(End(), BlamesField("subscribe.resume_revision"));
}

TEST_F(WatchRpc, BadCallerIsRefused) {
  Open("");
  EXPECT_THAT(End(), Fails(grpc::StatusCode::UNAUTHENTICATED, "CREDENTIALS_MISSING"));
  Open(MustCreate("viewer").key_string());
  EXPECT_THAT(End(), Fails(grpc::StatusCode::PERMISSION_DENIED, "PERMISSION_MISSING"));
}

TEST_F(WatchOfUnproven, UnprovenCallerIsProvenFirst) {
  Open(operator_key_);
  Subscribe();
  EXPECT_EQ(Hello().max_staleness().seconds(), 5);
  EXPECT_EQ(PingPong().remaining().seconds(), 5);
}

TEST_F(WatchRpc, StreamWithoutPingsIsEnded) {
  Open(verifier_key_);
  Subscribe();
  Hello();
  PingPong();
  service_.Advance(absl::Seconds(16));
  EXPECT_THAT(End(), Fails(grpc::StatusCode::UNAVAILABLE, "WATCH_ENDED"));
  EXPECT_TRUE(Eventually([this] { return service_.hub.stream_count() == 0; }));
}

TEST_F(WatchRpc, DrainingServerTellsItsClientsThenEndsTheStreams) {
  Open(verifier_key_);
  Subscribe();
  Hello();
  std::thread drain([this] { server_.Drain(absl::Seconds(30)); });
  EXPECT_TRUE(Next().has_drain());
  // It goes on for a moment, so that the client has time to go elsewhere.
  PingPong();
  EXPECT_THAT(End(), Fails(grpc::StatusCode::UNAVAILABLE, "SHUTTING_DOWN"));
  drain.join();
  EXPECT_EQ(service_.hub.stream_count(), 0u);
}

TEST_F(WatchRpc, ClientThatVanishesIsForgotten) {
  for (int i = 0; i < 20; ++i) {
    Open(verifier_key_);
    Subscribe();
    Hello();
    context_->TryCancel();
    v1::WatchResponse response;
    while (stream_->Read(&response)) {
    }
    EXPECT_EQ(stream_->Finish().error_code(), grpc::StatusCode::CANCELLED);
    MustCreate("viewer");
  }
  EXPECT_TRUE(Eventually([this] { return service_.hub.stream_count() == 0; }));
}

TEST_F(WatchRpc, SubscribersHearEverythingWhileChangesRace) {
  Open(verifier_key_);
  Subscribe();
  Hello();
  std::set<std::string> made;
  std::thread admin([&] {
    for (int i = 0; i < 100; ++i) made.insert(KidOf(MustCreate("viewer").key()));
  });
  // Each Pong is answered although changes never pause, and covers what came before it.
  for (int i = 0; i < 50; ++i) PingPong();
  admin.join();
  PingPong();
  EXPECT_EQ(kids_, made);
}

}  // namespace
}  // namespace latchkey::rpc
