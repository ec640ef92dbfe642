// Attacks by somebody who holds a key of the least role that may verify, and reads no answer.
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "latchkey/v1/key_verify.pb.h"
#include "tests/hostile/http2_peer.h"
#include "tests/hostile/target.h"

namespace latchkey::hostile {
namespace {

// As much text as a key may have in an answer.
std::string FatKey(Target& target) {
  v1::CreateKeyRequest request;
  request.set_parent("organizations/acme");
  request.mutable_key()->set_display_name("fat");
  request.mutable_key()->set_role("viewer");
  for (int i = 0; i < 30; ++i) {
    (*request.mutable_key()->mutable_labels())["label-" + std::to_string(i)] = std::string(63, 'x');
  }
  for (int i = 0; i < 60; ++i) request.mutable_key()->add_allowed_cidrs("2001:db8:0:" + std::to_string(i) + "::/64");
  const auto created = target.server().As(target.owner()).Call(&v1::KeyAdmin::Stub::CreateKey, request);
  EXPECT_TRUE(created.ok()) << created.status();
  return created.ok() ? created->key_string() : "";
}

Http2Peer::Headers As(const std::string& key) { return {{"authorization", "Bearer " + key}}; }

void Linger(Target::Moments& moments) {
  moments.begun = true;
  while (!moments.over) std::this_thread::sleep_for(std::chrono::milliseconds(20));
}

// A key of its own, so that what the attacker may hold is not what the good callers need.
std::string AttackersKey(Target& target) {
  return target.server().As(target.owner()).MustCreate("system", "Attacker", "verifier").key_string();
}

TEST(Keyed, UnreadAnswersToBatches) {
  Target target;
  const std::string attacker = AttackersKey(target);
  v1::BatchVerifyRequest request;
  for (int i = 0; i < 100; ++i) request.add_requests()->set_key(FatKey(target));
  for (auto& one : *request.mutable_requests()) one.mutable_client()->set_ip("2001:db8:0:1::1");
  const std::string message = request.SerializeAsString();
  ExpectUnharmed(
      "30 connections, 90 BatchVerify of 100, unread", target,
      [&](Target::Moments& moments) {
        std::vector<std::unique_ptr<Http2Peer>> peers;
        for (int i = 0; i < 30 && !moments.over; ++i) {
          peers.push_back(std::make_unique<Http2Peer>(target.address()));
          Http2Peer& peer = *peers.back();
          peer.Send(Http2Peer::WindowUpdate(0, 1 << 30));
          for (int n = 0; n < 90; ++n) {
            const uint32_t stream = peer.NextStream();
            if (!peer.Send(Http2Peer::Call(stream, "/latchkey.v1.KeyVerify/BatchVerify", As(attacker)) +
                           Http2Peer::Message(stream, message, true))) {
              break;
            }
          }
        }
        Linger(moments);
      },
      kManyConnections);
}

TEST(Keyed, UnreadAnswersOfStreams) {
  Target target;
  const std::string attacker = AttackersKey(target);
  v1::StreamVerifyRequest request;
  for (int i = 0; i < 64; ++i) request.add_requests()->set_key(FatKey(target));
  for (auto& one : *request.mutable_requests()) one.mutable_client()->set_ip("2001:db8:0:1::1");
  ExpectUnharmed(
      "200 StreamVerify of fat keys, unread", target,
      [&](Target::Moments& moments) {
        std::vector<std::unique_ptr<Http2Peer>> peers;
        for (int i = 0; i < 20 && !moments.over; ++i) {
          peers.push_back(std::make_unique<Http2Peer>(target.address()));
          Http2Peer& peer = *peers.back();
          for (int n = 0; n < 10; ++n) {
            const uint32_t stream = peer.NextStream();
            std::string frames = Http2Peer::Call(stream, "/latchkey.v1.KeyVerify/StreamVerify", As(attacker));
            for (uint64_t batch = 1; batch <= 6; ++batch) {
              request.set_batch_id(batch);
              frames += Http2Peer::Message(stream, request.SerializeAsString(), false);
            }
            if (!peer.Send(frames, absl::Milliseconds(200))) break;
          }
        }
        Linger(moments);
      },
      kManyConnections);
}

}  // namespace
}  // namespace latchkey::hostile
