#include "latchkey/testing/test_server.h"

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "client/core/revision_token.h"
#include "client/src/channel.h"
#include "client/src/key_file.h"
#include "gmock/gmock.h"
#include "grpcpp/grpcpp.h"
#include "gtest/gtest.h"
#include "latchkey/v1/key_verify.grpc.pb.h"
#include "latchkey/verifier.h"

namespace latchkey::testing {
namespace {

using ::testing::ElementsAre;

// Polls; what it waits for comes by itself, or the test has failed.
bool Eventually(const std::function<bool()>& condition) {
  const absl::Time until = absl::Now() + absl::Seconds(20);
  absl::Notification never;
  while (!condition()) {
    if (absl::Now() > until || never.WaitForNotificationWithTimeout(absl::Milliseconds(1))) return false;
  }
  return true;
}

// The real Verifier, with a stream up and a lease held: from here on, answers are remembered.
std::unique_ptr<Verifier> ConnectWatching(const TestServer& server) {
  VerifierOptions options = server.Options();
  options.timeout = absl::Seconds(20);
  auto verifier = Verifier::Connect(options);
  EXPECT_TRUE(verifier.ok()) << verifier.status();
  EXPECT_TRUE(Eventually([&] { return (*verifier)->Stats().lease_remaining > absl::ZeroDuration(); }));
  return *std::move(verifier);
}

// Watch as it is on the wire. Pings are sent when the test says so.
class RawWatch {
 public:
  explicit RawWatch(const TestServer& server, const std::string& resume = "")
      : stub_(v1::KeyVerify::NewStub(client::MakeChannel(server.address(), client::Sharing::kOwn).value())) {
    const auto caller = client::ReadKeyFile(server.Options().key_file);
    context_.AddMetadata("authorization", "Bearer " + std::string(caller.value().Expose()));
    context_.set_deadline(absl::ToChronoTime(absl::Now() + absl::Seconds(20)));
    stream_ = stub_->Watch(&context_);
    v1::WatchRequest request;
    request.mutable_subscribe()->set_resume_revision(resume);
    EXPECT_TRUE(stream_->Write(request));
    hello_ = Read().hello();
  }
  ~RawWatch() {
    context_.TryCancel();
    stream_->Finish();
  }

  const v1::WatchResponse::Hello& hello() const { return hello_; }
  void Ping() {
    v1::WatchRequest request;
    request.mutable_ping()->set_seq(++seq_);
    EXPECT_TRUE(stream_->Write(request));
  }
  // Empty if the stream has ended.
  v1::WatchResponse Read() {
    v1::WatchResponse message;
    if (!stream_->Read(&message)) message.Clear();
    return message;
  }
  // The next messages in words, up to the answer to `ping`, or to the stream's end.
  std::vector<std::string> ReadUpToPong(uint64_t ping) {
    std::vector<std::string> words;
    for (;;) {
      const v1::WatchResponse message = Read();
      if (message.has_invalidate()) {
        const auto& what = message.invalidate();
        words.push_back("invalidate " + (what.key_ids_size() > 0 ? what.key_ids(0) : what.roles(0)));
      } else if (message.has_drain()) {
        words.emplace_back("drain");
      } else if (message.has_pong()) {
        words.push_back("pong " + std::to_string(message.pong().echo_seq()));
        if (message.pong().echo_seq() == ping) return words;
      } else {
        words.emplace_back("the end");
        return words;
      }
    }
  }

 private:
  std::unique_ptr<v1::KeyVerify::Stub> stub_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<v1::WatchRequest, v1::WatchResponse>> stream_;
  v1::WatchResponse::Hello hello_;
  uint64_t seq_ = 0;
};

TEST(TestServer, KeyRevokedWhileWatchIsStalledIsRefusedOnceItGoesOnWithoutAnotherStream) {
  TestServer server({.max_staleness = absl::Seconds(60)});
  const std::string key = server.AddKey();
  const auto verifier = ConnectWatching(server);
  ASSERT_TRUE(verifier->Verify(key).allowed());
  server.StallWatches(true);
  server.Revoke(key);
  EXPECT_TRUE(verifier->Verify(key).allowed());  // It has not heard of it, and its lease lasts.
  server.StallWatches(false);
  EXPECT_TRUE(Eventually([&] { return verifier->Verify(key).decision() == Decision::kRevoked; }));
  EXPECT_EQ(verifier->Stats().watch_connects, 1);
  EXPECT_EQ(server.counts().watches, 1);
}

TEST(TestServer, VerifierThatResumesWhileWatchIsStalledHearsOfNothingUntilItGoesOn) {
  TestServer server({.max_staleness = absl::Seconds(60)});
  const std::string key = server.AddKey();
  const auto verifier = ConnectWatching(server);
  ASSERT_TRUE(verifier->Verify(key).allowed());
  server.StallWatches(true);
  server.Revoke(key);
  server.EndWatches();
  ASSERT_TRUE(Eventually([&] { return verifier->Stats().watch_resumes == 1; }));
  // It acknowledges what it hears with a Ping at once.
  const int pings = server.counts().pings;
  ASSERT_TRUE(Eventually([&] { return server.counts().pings >= pings + 2; }));
  EXPECT_TRUE(verifier->Verify(key).allowed());
  server.StallWatches(false);
  EXPECT_TRUE(Eventually([&] { return verifier->Verify(key).decision() == Decision::kRevoked; }));
}

TEST(TestServer, WhatAStalledWatchKeptBackComesInOrderBeforeThePong) {
  TestServer server;
  const std::string first = server.AddKey();
  const std::string second = server.AddKey();
  RawWatch watch(server);
  server.StallWatches(true);
  watch.Ping();
  server.Revoke(second);
  server.SetRolePermissions("acme", "viewer", {});
  server.Drain();
  server.Revoke(first);
  ASSERT_TRUE(Eventually([&] { return server.counts().pings == 1; }));  // This one is never answered.
  server.StallWatches(false);
  watch.Ping();
  EXPECT_THAT(watch.ReadUpToPong(2),
              ElementsAre("invalidate " + TestServer::KeyId(second), "invalidate organizations/acme/roles/viewer",
                          "drain", "invalidate " + TestServer::KeyId(first), "pong 2"));
  server.StallWatches(true);
  server.StallWatches(false);
  watch.Ping();
  EXPECT_THAT(watch.ReadUpToPong(3), ElementsAre("pong 3"));  // Nothing comes twice.
}

TEST(TestServer, StreamResumedWhileWatchIsStalledIsToldOfEveryChangeOnce) {
  TestServer server;
  const std::string before = server.AddKey();
  const std::string after = server.AddKey();
  const std::string resume = RawWatch(server).hello().sub_revision().token();
  server.StallWatches(true);
  server.Revoke(before);
  RawWatch watch(server, resume);
  EXPECT_TRUE(watch.hello().resumed());
  EXPECT_EQ(watch.hello().sub_revision().token(), resume);
  server.Revoke(after);
  watch.Ping();
  ASSERT_TRUE(Eventually([&] { return server.counts().pings == 1; }));
  server.StallWatches(false);
  watch.Ping();
  EXPECT_THAT(watch.ReadUpToPong(2), ElementsAre("invalidate " + TestServer::KeyId(before),
                                                 "invalidate " + TestServer::KeyId(after), "pong 2"));
}

TEST(TestServer, KeyOfAnUnreadableBlockIsRefusedByAddKey) {
  TestServer server;
  EXPECT_THROW(server.AddKey({.allowed_cidrs = {"10.0.0.1/8"}}), std::invalid_argument);
  EXPECT_EQ(server.revision(), 0);
}

TEST(TestServer, KeyIdOfWhatIsNoKeyStringIsEmpty) {
  TestServer server;
  const std::string key = server.AddKey();
  EXPECT_EQ(TestServer::KeyId(key).size(), 16);
  EXPECT_EQ(TestServer::KeyId("nonsense"), "");
  EXPECT_FALSE(server.Revoke("nonsense"));
}

}  // namespace
}  // namespace latchkey::testing
