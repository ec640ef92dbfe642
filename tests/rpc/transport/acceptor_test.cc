#include "server/rpc/transport/acceptor.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace latchkey::rpc {
namespace {

// What a protocol would be given.
class Served {
 public:
  ~Served() {
    for (const int one : descriptors_) close(one);
  }
  Acceptor::HandOver HandOver() {
    return [this](int /*listener*/, int descriptor) {
      const std::lock_guard lock(mutex_);
      descriptors_.push_back(descriptor);
      changed_.notify_all();
    };
  }
  // The one at `index`, when it has come.
  int Await(size_t index) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return descriptors_.size() > index; });
    return descriptors_[index];
  }
  // Whether it comes within a moment.
  bool Comes(size_t index) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::milliseconds(50), [&] { return descriptors_.size() > index; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<int> descriptors_;
};

class Dialled {
 public:
  explicit Dialled(int port) : descriptor_(socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(connect(descriptor_, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  }
  explicit Dialled(const std::string& path) : descriptor_(socket(AF_UNIX, SOCK_STREAM, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof address.sun_path - 1);
    EXPECT_EQ(connect(descriptor_, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  }
  ~Dialled() { close(descriptor_); }
  Dialled(const Dialled&) = delete;
  Dialled& operator=(const Dialled&) = delete;

  void Send(const std::string& bytes) const {
    EXPECT_EQ(send(descriptor_, bytes.data(), bytes.size(), MSG_NOSIGNAL), static_cast<ssize_t>(bytes.size()));
  }
  // Waits for the server's end of it.
  bool AwaitEnd() const {
    char byte = 0;
    return recv(descriptor_, &byte, 1, 0) <= 0;
  }
  bool is_open() const {
    pollfd wait{descriptor_, POLLIN, 0};
    return poll(&wait, 1, 0) == 0;
  }
  std::string name() const {
    sockaddr_in address{};
    socklen_t length = sizeof address;
    getsockname(descriptor_, reinterpret_cast<sockaddr*>(&address), &length);
    return ConnectionNameOf("127.0.0.1", std::to_string(ntohs(address.sin_port)));
  }

 private:
  const int descriptor_;
};

std::unique_ptr<Acceptor> Listen(const Acceptor::Limits& limits, Connections& connections, Served& served,
                                 const std::string& address = "127.0.0.1:0") {
  absl::StatusOr<std::unique_ptr<Acceptor>> acceptor = Acceptor::Listen(address, limits, connections);
  EXPECT_TRUE(acceptor.ok()) << acceptor.status();
  (*acceptor)->Start(served.HandOver());
  return *std::move(acceptor);
}

TEST(Acceptor, HandsOverWhatItAcceptsAndKnowsIt) {
  Connections connections{ConnectionLimits()};
  Served served;
  const auto acceptor = Listen({}, connections, served);
  const Dialled client(acceptor->port());
  served.Await(0);
  const std::shared_ptr<Connection> known = connections.Of(client.name());
  EXPECT_GE(known->descriptor(), 0);
  known->Shut();
  EXPECT_TRUE(client.AwaitEnd());
}

TEST(Acceptor, ConnectionsAboveTheAddressesShareAreClosedAndRoomIsMadeByTheirEnd) {
  Connections connections{ConnectionLimits()};
  Served served;
  const auto acceptor = Listen({.connections = 100, .per_address = 2, .unproven = 100}, connections, served);
  const Dialled first(acceptor->port());
  served.Await(0);
  connections.Of(first.name())->NoteProven();
  {
    const Dialled second(acceptor->port());
    const int descriptor = served.Await(1);
    connections.Of(second.name())->NoteProven();
    const Dialled third(acceptor->port());
    EXPECT_TRUE(third.AwaitEnd());
    EXPECT_TRUE(first.is_open());
    EXPECT_TRUE(second.is_open());
    // As the protocol ends one.
    shutdown(descriptor, SHUT_RDWR);
    EXPECT_TRUE(second.AwaitEnd());
  }
  // The end may be noticed a moment after it.
  for (;;) {
    const Dialled fourth(acceptor->port());
    if (served.Comes(2)) break;
  }
}

TEST(Acceptor, OldestOnWhichNobodyAuthenticatedMakesRoom) {
  Connections connections{ConnectionLimits()};
  Served served;
  const auto acceptor = Listen({.connections = 4, .per_address = 4, .unproven = 2}, connections, served);
  const Dialled proven(acceptor->port());
  served.Await(0);
  connections.Of(proven.name())->NoteProven();
  const Dialled oldest(acceptor->port());
  const Dialled middle(acceptor->port());
  served.Await(2);
  const Dialled newest(acceptor->port());
  EXPECT_TRUE(oldest.AwaitEnd());
  served.Await(3);
  EXPECT_TRUE(proven.is_open());
  EXPECT_TRUE(middle.is_open());
  EXPECT_TRUE(newest.is_open());
}

TEST(Acceptor, OldestOfItsAddressMakesRoomForOneMoreOfIt) {
  Connections connections{ConnectionLimits()};
  Served served;
  const auto acceptor = Listen({.connections = 100, .per_address = 2, .unproven = 100}, connections, served);
  const Dialled oldest(acceptor->port());
  const Dialled middle(acceptor->port());
  served.Await(1);
  const Dialled newest(acceptor->port());
  EXPECT_TRUE(oldest.AwaitEnd());
  served.Await(2);
  EXPECT_TRUE(middle.is_open());
  EXPECT_TRUE(newest.is_open());
}

TEST(Acceptor, NoMoreAreHandedOverWhileTheBytesOfOthersAreNotRead) {
  Connections connections{ConnectionLimits()};
  Served served;
  const auto acceptor =
      Listen({.connections = 100, .per_address = 100, .unproven = 100, .unread = 2, .longest_pause = absl::Seconds(30)},
             connections, served);
  const Dialled first(acceptor->port());
  first.Send("1");
  const Dialled second(acceptor->port());
  second.Send("2");
  const int descriptor = served.Await(1);
  const Dialled third(acceptor->port());
  EXPECT_FALSE(served.Comes(2));
  char byte = 0;
  EXPECT_EQ(recv(descriptor, &byte, 1, 0), 1);
  served.Await(2);
  // Those that say nothing hold nobody up for long.
  const Dialled fourth(acceptor->port());
  const Dialled fifth(acceptor->port());
  served.Await(4);
}

TEST(Acceptor, WhoeverKeepsBytesUnreadOnlySlowsItDown) {
  Connections connections{ConnectionLimits()};
  Served served;
  const auto acceptor =
      Listen({.connections = 100, .per_address = 100, .unproven = 100, .unread = 1}, connections, served);
  std::vector<std::unique_ptr<Dialled>> dialled;
  for (int i = 0; i < 10; ++i) {
    dialled.push_back(std::make_unique<Dialled>(acceptor->port()));
    dialled.back()->Send("x");
  }
  served.Await(9);
}

TEST(Acceptor, CallsThatDoNotEndOnlySlowItDown) {
  Connections connections{ConnectionLimits()};
  Served served;
  class Endless final : public OpenCall {
    std::function<void()> Canceller() const override {
      return [] {};
    }
  };
  const Endless call;
  const std::shared_ptr<Connection> shut = connections.Add("shut", open("/dev/null", O_RDONLY | O_CLOEXEC));
  shut->AddCall(call);
  shut->Shut();
  const auto acceptor = Listen({.ending_calls = 0}, connections, served);
  const Dialled first(acceptor->port());
  const Dialled second(acceptor->port());
  const Dialled third(acceptor->port());
  served.Await(2);
  shut->RemoveCall(call);
}

TEST(Acceptor, ThoseThatAreProvenByNowMakeRoomWithoutAnEnd) {
  Connections connections{ConnectionLimits()};
  Served served;
  const auto acceptor = Listen({.connections = 100, .per_address = 100, .unproven = 2}, connections, served);
  const Dialled waiting(acceptor->port());
  const Dialled proven(acceptor->port());
  served.Await(1);
  connections.Of(proven.name())->NoteProven();
  const Dialled next(acceptor->port());
  served.Await(2);
  EXPECT_TRUE(waiting.is_open());
}

TEST(Acceptor, WhenAllAreProvenANewOneIsRefused) {
  Connections connections{ConnectionLimits()};
  Served served;
  const auto acceptor = Listen({.connections = 1, .per_address = 9, .unproven = 9}, connections, served);
  const Dialled first(acceptor->port());
  served.Await(0);
  connections.Of(first.name())->NoteProven();
  const Dialled second(acceptor->port());
  EXPECT_TRUE(second.AwaitEnd());
  EXPECT_TRUE(first.is_open());
}

TEST(Acceptor, UnixSocketIsServedReplacedWhenNobodyListensAndRemovedAtTheEnd) {
  char directory[] = "/tmp/latchkey-acceptor-XXXXXX";
  ASSERT_NE(mkdtemp(directory), nullptr);
  const std::string path = std::string(directory) + "/socket";
  Connections connections{ConnectionLimits()};
  Served served;
  {
    const auto acceptor = Listen({}, connections, served, "unix:" + path);
    EXPECT_EQ(acceptor->port(), 0);
    const Dialled client(path);
    served.Await(0);
    const auto second = Acceptor::Listen("unix:" + path, {}, connections);
    EXPECT_EQ(second.status().code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_TRUE(client.is_open());
  }
  EXPECT_NE(access(path.c_str(), F_OK), 0);
  // As a server leaves it that was killed.
  const int dead = socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  ASSERT_EQ(bind(dead, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  close(dead);
  Listen({}, connections, served, "unix:" + path);
  const std::string file = std::string(directory) + "/file";
  close(open(file.c_str(), O_WRONLY | O_CREAT, 0600));
  EXPECT_FALSE(Acceptor::Listen("unix:" + file, {}, connections).ok());
  EXPECT_EQ(access(file.c_str(), F_OK), 0);
  unlink(file.c_str());
  rmdir(directory);
}

TEST(Acceptor, AddressThatIsTakenIsSaidInOneLine) {
  Connections connections{ConnectionLimits()};
  Served served;
  const auto acceptor = Listen({}, connections, served);
  const std::string address = "127.0.0.1:" + std::to_string(acceptor->port());
  const absl::StatusOr<std::unique_ptr<Acceptor>> second = Acceptor::Listen(address, {}, connections);
  EXPECT_EQ(second.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(second.status().message()), ::testing::HasSubstr(address));
}

}  // namespace
}  // namespace latchkey::rpc
