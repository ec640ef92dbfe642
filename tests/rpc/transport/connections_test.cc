#include "server/rpc/transport/connections.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace latchkey::rpc {
namespace {

constexpr AnonymousClass kClass = AnonymousClass::kUnproven;

ConnectionLimits SmallLimits() {
  ConnectionLimits limits;
  limits.process.fill({10, 1000});
  limits.connection.fill({6, 600});
  return limits;
}

// A connection with a real socket.
struct Peer {
  Peer(Connections& connections, const std::string& name) {
    int ends[2] = {-1, -1};
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
    peer = ends[0];
    connection = connections.Add(name, ends[1]);
  }
  ~Peer() { close(peer); }
  bool sees_the_end() const {
    char byte = 0;
    return recv(peer, &byte, 1, 0) == 0;
  }
  // Takes places one by one; how many it got.
  int Take(Connections& connections, int count) {
    int got = 0;
    for (int i = 0; i < count; ++i) {
      absl::StatusOr<Charge> one = connections.Take(kClass, connection, {1, 10});
      if (!one.ok()) break;
      charges.push_back(*std::move(one));
      ++got;
    }
    return got;
  }

  int peer = -1;
  std::shared_ptr<Connection> connection;
  std::vector<Charge> charges;
};

TEST(Connections, AreFoundByNameWhileTheyLive) {
  Connections connections(SmallLimits());
  std::shared_ptr<Connection> one = connections.Add("10.0.0.1 5", -1);
  EXPECT_EQ(connections.Of("10.0.0.1 5"), one);
  const uint64_t serial = one->serial();
  EXPECT_NE(connections.Of("10.0.0.1 6")->serial(), serial);
  one = nullptr;
  EXPECT_NE(connections.Of("10.0.0.1 5")->serial(), serial);
  const std::shared_ptr<Connection> next = connections.Add("10.0.0.1 5", -1);
  EXPECT_EQ(connections.Of("10.0.0.1 5"), next);
}

TEST(Connections, OneIsHeldToItsShare) {
  Connections connections(SmallLimits());
  Peer one(connections, "one");
  Peer other(connections, "other");
  EXPECT_EQ(one.Take(connections, 20), 6);
  EXPECT_FALSE(one.sees_the_end());
  EXPECT_EQ(other.Take(connections, 4), 4);
}

TEST(Connections, WhoHoldsMostIsShutForWhoHoldsLess) {
  Connections connections(SmallLimits());
  Peer greedy(connections, "greedy");
  Peer modest(connections, "modest");
  Peer third(connections, "third");
  EXPECT_EQ(greedy.Take(connections, 6), 6);
  EXPECT_EQ(modest.Take(connections, 4), 4);
  // Full now.
  EXPECT_EQ(third.Take(connections, 1), 1);
  EXPECT_TRUE(greedy.sees_the_end());
  EXPECT_FALSE(modest.sees_the_end());
  // What the shut one holds until its calls have ended makes room already.
  EXPECT_EQ(third.Take(connections, 3), 3);
  EXPECT_FALSE(modest.sees_the_end());
}

class Counted final : public OpenCall {
 public:
  std::function<void()> Canceller() const override {
    return [this] { ++cancelled_; };
  }
  int cancelled() const { return cancelled_; }

 private:
  mutable int cancelled_ = 0;
};

TEST(Connections, ThatIsShutCancelsItsOpenCallsOnce) {
  Connections connections(SmallLimits());
  const Peer one(connections, "one");
  const Counted open;
  const Counted ended;
  one.connection->AddCall(open);
  one.connection->AddCall(ended);
  one.connection->RemoveCall(ended);
  EXPECT_EQ(connections.ending_calls(), 0u);
  EXPECT_TRUE(one.connection->Shut());
  EXPECT_FALSE(one.connection->Shut());
  EXPECT_EQ(open.cancelled(), 1);
  EXPECT_EQ(ended.cancelled(), 0);
  const Counted late;
  one.connection->AddCall(late);
  EXPECT_EQ(connections.ending_calls(), 2u);
  one.connection->RemoveCall(late);
  one.connection->RemoveCall(open);
  EXPECT_EQ(connections.ending_calls(), 0u);
}

TEST(Connections, WithoutADescriptorItsCallsAreCancelledAndItGoesOn) {
  Connections connections(SmallLimits());
  const std::shared_ptr<Connection> one = connections.Of("one");
  const Counted open;
  one->AddCall(open);
  EXPECT_TRUE(one->Shut());
  EXPECT_TRUE(one->Shut());
  EXPECT_EQ(open.cancelled(), 2);
  EXPECT_FALSE(one->is_shut());
  EXPECT_EQ(connections.ending_calls(), 0u);
}

TEST(Connections, OneThatIsProvenIsNotShutForOneThatIsNotAndGetsItsRoom) {
  Connections connections(SmallLimits());
  Peer good(connections, "good");
  Peer one(connections, "one");
  Peer other(connections, "other");
  good.connection->NoteProven();
  EXPECT_EQ(good.Take(connections, 5), 5);
  EXPECT_EQ(one.Take(connections, 3), 3);
  EXPECT_EQ(other.Take(connections, 3), 2) << "the class is full, and nobody else holds more";
  EXPECT_FALSE(good.sees_the_end());
  EXPECT_FALSE(one.sees_the_end());
  EXPECT_EQ(good.Take(connections, 1), 1);
  EXPECT_TRUE(one.sees_the_end());
  EXPECT_FALSE(other.sees_the_end());
}

TEST(Connections, AmongEqualsTheNewcomerIsRefused) {
  Connections connections(SmallLimits());
  Peer one(connections, "one");
  Peer other(connections, "other");
  EXPECT_EQ(one.Take(connections, 5), 5);
  EXPECT_EQ(other.Take(connections, 6), 5);
  EXPECT_FALSE(one.sees_the_end());
  EXPECT_FALSE(other.sees_the_end());
}

TEST(Connections, ClassesDoNotTouchEachOther) {
  Connections connections(SmallLimits());
  Peer one(connections, "one");
  EXPECT_EQ(one.Take(connections, 6), 6);
  EXPECT_TRUE(connections.Take(AnonymousClass::kHealth, one.connection, {6, 600}).ok());
}

}  // namespace
}  // namespace latchkey::rpc
