// Attacks by peers without a key.
#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "grpc/health/v1/health.pb.h"
#include "latchkey/v1/key_verify.pb.h"
#include "tests/hostile/http2_peer.h"
#include "tests/hostile/target.h"

namespace latchkey::hostile {
namespace {

constexpr char kStreamVerify[] = "/latchkey.v1.KeyVerify/StreamVerify";
constexpr char kWatch[] = "/latchkey.v1.KeyVerify/Watch";
constexpr char kVerify[] = "/latchkey.v1.KeyVerify/Verify";
constexpr char kHealthWatch[] = "/grpc.health.v1.Health/Watch";
constexpr char kReflection[] = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";

void Linger(Target::Moments& moments) {
  moments.begun = true;
  while (!moments.over) std::this_thread::sleep_for(std::chrono::milliseconds(20));
}

// What one call sends.
using Call = std::function<std::string(uint32_t stream)>;

Call HeadersOf(const std::string& method) {
  return [method](uint32_t stream) { return Http2Peer::Call(stream, method); };
}
Call WholeCall(const std::string& method, const std::string& message, const Http2Peer::Headers& more = {}) {
  return [=](uint32_t stream) {
    return Http2Peer::Call(stream, method, more) + Http2Peer::Message(stream, message, /*ends=*/true);
  };
}

// Opens `count` calls on one connection, reads nothing and stays.
void Flood(Http2Peer& peer, int count, const Call& call) {
  std::string frames;
  for (int i = 0; i < count; ++i) {
    frames += call(peer.NextStream());
    if (frames.size() < 32'768 && i + 1 < count) continue;
    if (!peer.Send(frames)) return;
    frames.clear();
  }
}

Target::Attack FromOneConnection(Target& target, int count, const Call& call) {
  return [&target, count, call](Target::Moments& moments) {
    Http2Peer peer(target.address());
    Flood(peer, count, call);
    Linger(moments);
  };
}
// As many connections as it is let have, each a share of the calls; those that were closed are opened again.
Target::Attack FromMany(Target& target, int connections, int count_each, const Call& call) {
  return [&target, connections, count_each, call](Target::Moments& moments) {
    std::vector<std::unique_ptr<Http2Peer>> peers;
    for (int i = 0; i < connections && !moments.over; ++i) {
      peers.push_back(std::make_unique<Http2Peer>(target.address()));
      Flood(*peers.back(), count_each, call);
      moments.begun = i >= connections / 2;
    }
    Linger(moments);
  };
}

std::string VerifyMessage(const std::string& key) {
  v1::VerifyRequest request;
  request.set_key(key);
  return request.SerializeAsString();
}

TEST(Anonymous, UnreadStreamVerifyStreamsOfOneConnection) {
  Target target;
  ExpectUnharmed("30,000 StreamVerify, unread", target, FromOneConnection(target, 30'000, HeadersOf(kStreamVerify)));
}

TEST(Anonymous, UnreadWatchStreamsOfOneConnection) {
  Target target;
  ExpectUnharmed("30,000 Watch, unread", target, FromOneConnection(target, 30'000, HeadersOf(kWatch)));
}

TEST(Anonymous, UnreadStreamsOfManyConnections) {
  Target target;
  ExpectUnharmed("300 connections, 90 StreamVerify each", target, FromMany(target, 300, 90, HeadersOf(kStreamVerify)),
                 kManyConnections);
}

TEST(Anonymous, UnreadVerifyCalls) {
  Target target;
  ExpectUnharmed("60,000 Verify, unread", target,
                 FromOneConnection(target, 60'000, WholeCall(kVerify, VerifyMessage("x"))));
}

TEST(Anonymous, CallsWithoutAMessage) {
  Target target;
  ExpectUnharmed("60,000 Verify without a message", target, FromOneConnection(target, 60'000, HeadersOf(kVerify)));
}

TEST(Anonymous, CallsWithoutAMessageOfManyConnections) {
  Target target;
  ExpectUnharmed("300 connections, 90 Verify without message", target, FromMany(target, 300, 90, HeadersOf(kVerify)),
                 kManyConnections);
}

TEST(Anonymous, CallWhoseMessageDoesNotComeIsEnded) {
  Target target;
  Http2Peer peer(target.address());
  ASSERT_TRUE(peer.Send(Http2Peer::Call(peer.NextStream(), kVerify)));
  EXPECT_TRUE(peer.WaitFor("the deadline passed", absl::Seconds(30)));
}

TEST(Anonymous, HealthWatches) {
  Target target;
  ExpectUnharmed("120,000 health Watch, unread", target,
                 FromOneConnection(target, 120'000, WholeCall(kHealthWatch, "")));
}

TEST(Anonymous, ReflectionStreamsHoldNoThreads) {
  Target target;
  ExpectUnharmed("2,000 reflection streams", target, FromMany(target, 25, 80, HeadersOf(kReflection)),
                 kManyConnections);
}

TEST(Anonymous, CallsOfUnknownMethods) {
  Target target;
  ExpectUnharmed("60,000 calls of no method", target,
                 FromOneConnection(target, 60'000, HeadersOf("/latchkey.v1.KeyVerify/NoSuch")));
}

TEST(Anonymous, MetadataInTheFirstFlight) {
  Target target;
  const std::string value(5 << 20, 'x');
  const auto call = [&value](uint32_t stream) { return Http2Peer::Call(stream, kVerify, {{"x-large", value}}); };
  ExpectUnharmed(
      "calls with 5 MiB of metadata", target,
      [&](Target::Moments& moments) {
        moments.begun = true;
        while (!moments.over) {
          Http2Peer peer(target.address());
          Flood(peer, 10, call);
        }
      },
      kManyConnections);
}

TEST(Anonymous, LogIsNoCopyOfWhatPeersSend) {
  Target target;
  const std::string secret = "lk1-not-to-be-logged-" + std::string(2'000, 's');
  const size_t before = target.server().process().error().size();
  int rounds = 0;
  ExpectUnharmed(
      "headers and texts that are logged", target,
      [&](Target::Moments& moments) {
        moments.begun = true;
        while (!moments.over) {
          Http2Peer peer(target.address());
          for (int i = 0; i < 40; ++i, ++rounds) {
            const uint32_t stream = peer.NextStream();
            const std::string no_utf8 = VerifyMessage("\xff\xfe" + secret);
            peer.Send(Http2Peer::Call(stream, kVerify, {{"grpc-timeout", secret}, {"grpc-encoding", secret}}) +
                      Http2Peer::Message(stream, no_utf8, true));
            peer.Discard();
          }
        }
      },
      kManyConnections);
  const std::string log = target.server().process().error().substr(before);
  EXPECT_GT(rounds, 500);
  EXPECT_EQ(log.find(secret.substr(0, 40)), std::string::npos);
  EXPECT_LT(log.size(), 100'000u) << log.substr(0, 2'000);
}

}  // namespace
}  // namespace latchkey::hostile
