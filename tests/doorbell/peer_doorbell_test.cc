#include "server/doorbell/peer_doorbell.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <condition_variable>
#include <mutex>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "server/storage/postgres/notify_doorbell.h"
#include "tests/support/status_matchers.h"

namespace latchkey::doorbell {
namespace {

using ::testing::ElementsAre;
using testing::HasCode;
using testing::IsOk;
using ::testing::Pair;

using Rings = std::vector<std::pair<int64_t, bool>>;

// Collects what is heard.
class Ear {
 public:
  keys::Doorbell::Heard heard() {
    return [this](int64_t revision, bool waiting) {
      const std::lock_guard<std::mutex> lock(mutex_);
      rings_.emplace_back(revision, waiting);
      changed_.notify_all();
    };
  }
  // All that was heard, once there are `count` or nothing comes for long.
  Rings WaitFor(size_t count) {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait_for(lock, std::chrono::seconds(30), [&] { return rings_.size() >= count; });
    return rings_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  Rings rings_;
};

std::unique_ptr<PeerDoorbell> MustBind(const PeerDoorbell::Options& options = {}) {
  auto bell = PeerDoorbell::Bind(options);
  EXPECT_THAT(bell, IsOk());
  return bell.ok() ? *std::move(bell) : nullptr;
}

// Sends datagrams from one socket, so in order.
class Sender {
 public:
  explicit Sender(const std::string& address) : socket_(socket(AF_INET, SOCK_DGRAM, 0)) {
    to_.sin_family = AF_INET;
    to_.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int port = 0;
    EXPECT_TRUE(absl::SimpleAtoi(address.substr(address.rfind(':') + 1), &port));
    to_.sin_port = htons(static_cast<uint16_t>(port));
  }
  ~Sender() { close(socket_); }
  void Send(const std::string& datagram) {
    EXPECT_EQ(sendto(socket_, datagram.data(), datagram.size(), 0, reinterpret_cast<sockaddr*>(&to_), sizeof to_),
              static_cast<ssize_t>(datagram.size()));
  }

 private:
  const int socket_;
  sockaddr_in to_{};
};

TEST(PeerDoorbell, RingsEveryOtherServerAndNotItself) {
  const keys::KeyRingHandle ring(keys::KeyRing::Generate());
  Ear ear_a, ear_b, ear_c;
  const auto a = MustBind();
  const auto b = MustBind();
  const auto c = MustBind({.advertise = "localhost"});
  a->Start(ring, ear_a.heard());
  b->Start(ring, ear_b.heard());
  c->Start(ring, ear_c.heard());
  const auto row = [](const char* id, const std::string& doorbell) {
    storage::Replica replica;
    replica.id = id;
    replica.doorbell = doorbell;
    return replica;
  };
  const std::vector<storage::Replica> rows = {row("a", a->advertised()), row("none", ""), row("bad", "no address"),
                                              row("b", b->advertised()), row("c", c->advertised())};
  a->SetPeers(rows, "a");
  b->SetPeers(rows, "b");
  a->Ring(int64_t{1} << 40, false);
  EXPECT_THAT(ear_b.WaitFor(1), ElementsAre(Pair(int64_t{1} << 40, false)));
  EXPECT_THAT(ear_c.WaitFor(1), ElementsAre(Pair(int64_t{1} << 40, false)));
  b->Ring(3, true);
  EXPECT_THAT(ear_a.WaitFor(1), ElementsAre(Pair(3, true))) << "and its own ring did not come before it";
}

TEST(PeerDoorbell, WhatTheKeyRingDidNotSignIsDroppedAndCounted) {
  const keys::KeyRingHandle ring(keys::KeyRing::Generate());
  const keys::KeyRing other = keys::KeyRing::Generate();
  Ear ear;
  const auto bell = MustBind();
  bell->Start(ring, ear.heard());
  Sender sender(bell->advertised());
  const std::string good = PeerDoorbell::Datagram(*keys::KeyRingHandle::Pin(ring), 5, true);
  EXPECT_EQ(good.size(), 26u);
  sender.Send(PeerDoorbell::Datagram(other, 1, false));
  sender.Send(good.substr(0, 25));
  sender.Send(good + "x");
  sender.Send("x");
  // Every byte is covered.
  for (size_t i = 0; i < good.size(); ++i) {
    std::string bad = good;
    bad[i] = static_cast<char>(bad[i] ^ 1);
    sender.Send(bad);
  }
  sender.Send(good);
  EXPECT_THAT(ear.WaitFor(1), ElementsAre(Pair(5, true)));
  EXPECT_EQ(bell->dropped(), 4 + 26);
}

TEST(PeerDoorbell, ARingBeforeThereArePeersIsLostWithoutHarm) {
  const keys::KeyRingHandle ring(keys::KeyRing::Generate());
  Ear ear;
  const auto bell = MustBind();
  bell->Ring(1, false);
  bell->Start(ring, ear.heard());
  bell->Ring(2, true);
  Sender(bell->advertised()).Send(PeerDoorbell::Datagram(*keys::KeyRingHandle::Pin(ring), 3, false));
  EXPECT_THAT(ear.WaitFor(1), ElementsAre(Pair(3, false)));
}

TEST(PeerDoorbell, AdvertisesWhatItIsToldWithTheBoundPort) {
  const auto bound = MustBind();
  EXPECT_EQ(bound->advertised().rfind("127.0.0.1:", 0), 0u) << bound->advertised();
  EXPECT_NE(bound->advertised(), "127.0.0.1:0");
  const auto named = MustBind({.listen = "0.0.0.0:0", .advertise = "one.example"});
  EXPECT_EQ(named->advertised().rfind("one.example:", 0), 0u);
  EXPECT_NE(named->advertised(), "one.example:0");
  EXPECT_EQ(MustBind({.advertise = "one.example:7000"})->advertised(), "one.example:7000");
}

TEST(PeerDoorbell, AnAddressItCanNotUseIsSaidSo) {
  for (const char* listen : {"", "127.0.0.1", "127.0.0.1:x", ":1", "0.0.0.0:0", "[::]:0"}) {
    EXPECT_THAT(PeerDoorbell::Bind({.listen = listen}), HasCode(absl::StatusCode::kInvalidArgument)) << listen;
  }
  const auto first = MustBind();
  EXPECT_THAT(PeerDoorbell::Bind({.listen = first->advertised()}), HasCode(absl::StatusCode::kUnavailable));
}

TEST(NotifyDoorbell, UnderstandsItsOwnPayloadsAndNothingElse) {
  int64_t revision = 0;
  bool waiting = false;
  EXPECT_TRUE(storage::ParseRing("12", revision, waiting));
  EXPECT_EQ(revision, 12);
  EXPECT_FALSE(waiting);
  EXPECT_TRUE(storage::ParseRing("9223372036854775807 w", revision, waiting));
  EXPECT_EQ(revision, INT64_MAX);
  EXPECT_TRUE(waiting);
  for (const char* bad : {"", "w", "-1", "9223372036854775808", "12 x", "12w", "12 w ", " 12"}) {
    EXPECT_FALSE(storage::ParseRing(bad, revision, waiting)) << bad;
  }
}

}  // namespace
}  // namespace latchkey::doorbell
