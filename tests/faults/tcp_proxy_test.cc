// The tests' own network: what it does to bytes.
#include "tests/support/tcp_proxy.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <optional>
#include <string>
#include <thread>

#include "absl/time/clock.h"
#include "tests/support/temp_directory.h"

namespace latchkey::testing {
namespace {

constexpr int kPatienceMs = 10'000;
constexpr int kSilenceMs = 150;

class Socket {
 public:
  explicit Socket(int descriptor) : descriptor_(descriptor) {}
  ~Socket() { close(descriptor_); }
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;

  int get() const { return descriptor_; }
  void Write(const std::string& text) const {
    EXPECT_EQ(send(descriptor_, text.data(), text.size(), MSG_NOSIGNAL), static_cast<ssize_t>(text.size()));
  }
  // The next bytes; "" at its end or after a reset; nullopt if nothing comes.
  std::optional<std::string> Read(int patience_ms = kPatienceMs) const {
    pollfd wait{descriptor_, POLLIN, 0};
    if (poll(&wait, 1, patience_ms) == 0) return std::nullopt;
    char buffer[65536];
    const ssize_t got = recv(descriptor_, buffer, sizeof buffer, 0);
    return got <= 0 ? "" : std::string(buffer, static_cast<size_t>(got));
  }

 private:
  const int descriptor_;
};

sockaddr_un Address(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  return address;
}

// Listens on a Unix socket.
class Target {
 public:
  explicit Target(const std::string& path) : listener_(socket(AF_UNIX, SOCK_STREAM, 0)) {
    const sockaddr_un address = Address(path);
    EXPECT_EQ(bind(listener_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    EXPECT_EQ(listen(listener_.get(), 8), 0);
  }
  int Accept() const {
    pollfd wait{listener_.get(), POLLIN, 0};
    EXPECT_EQ(poll(&wait, 1, kPatienceMs), 1) << "nobody connects";
    return accept(listener_.get(), nullptr, nullptr);
  }

 private:
  const Socket listener_;
};

int Connect(const TcpProxy& proxy) {
  const int connection = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(proxy.port()));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(connect(connection, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  return connection;
}

class TcpProxyTest : public ::testing::Test {
 protected:
  const TempDirectory directory_;
  const std::string path_ = directory_.Child("target");
  const Target target_{path_};
  TcpProxy proxy_{path_};
  const Socket near_{Connect(proxy_)};
  const Socket far_{target_.Accept()};
};

TEST_F(TcpProxyTest, PassesBytesBothWaysAndTheEnd) {
  near_.Write("question");
  EXPECT_EQ(far_.Read(), "question");
  far_.Write("answer");
  EXPECT_EQ(near_.Read(), "answer");
  shutdown(near_.get(), SHUT_WR);
  EXPECT_EQ(far_.Read(), "");
  far_.Write("last words");
  EXPECT_EQ(near_.Read(), "last words");
}

TEST_F(TcpProxyTest, PassesMoreThanItHolds) {
  const std::string much(32 << 20, 'x');
  std::thread writer([&] {
    for (size_t sent = 0; sent < much.size();) {
      const ssize_t size = send(near_.get(), much.data() + sent, much.size() - sent, MSG_NOSIGNAL);
      ASSERT_GT(size, 0);
      sent += static_cast<size_t>(size);
    }
  });
  size_t got = 0;
  while (got < much.size()) {
    const std::optional<std::string> piece = far_.Read();
    ASSERT_TRUE(piece.has_value() && !piece->empty());
    got += piece->size();
  }
  writer.join();
}

TEST_F(TcpProxyTest, StallsOneDirectionAndThenBringsWhatWasHeld) {
  proxy_.Set(TcpProxy::Mode::kStallToTarget);
  near_.Write("question");
  far_.Write("unasked");
  EXPECT_EQ(near_.Read(), "unasked");
  EXPECT_EQ(far_.Read(kSilenceMs), std::nullopt);
  proxy_.Set(TcpProxy::Mode::kStallFromTarget);
  EXPECT_EQ(far_.Read(), "question");
  far_.Write("answer");
  EXPECT_EQ(near_.Read(kSilenceMs), std::nullopt);
  proxy_.Set(TcpProxy::Mode::kPass);
  EXPECT_EQ(near_.Read(), "answer");
}

TEST_F(TcpProxyTest, StallsBothDirectionsWithoutAnEnd) {
  proxy_.Set(TcpProxy::Mode::kStall);
  near_.Write("question");
  far_.Write("unasked");
  EXPECT_EQ(far_.Read(kSilenceMs), std::nullopt);
  EXPECT_EQ(near_.Read(kSilenceMs), std::nullopt);
}

TEST_F(TcpProxyTest, CutsAndRefusesUntilItPassesAgain) {
  proxy_.Set(TcpProxy::Mode::kCut);
  EXPECT_EQ(near_.Read(), "");
  EXPECT_EQ(far_.Read(), "");
  const Socket refused(Connect(proxy_));
  EXPECT_EQ(refused.Read(), "");
  proxy_.Set(TcpProxy::Mode::kPass);
  const Socket again(Connect(proxy_));
  const Socket there(target_.Accept());
  again.Write("question");
  EXPECT_EQ(there.Read(), "question");
}

TEST_F(TcpProxyTest, ResetsOnceAndLeadsElsewhere) {
  const std::string other_path = directory_.Child("other");
  const Target other(other_path);
  proxy_.SetTarget(other_path);
  near_.Write("question");
  EXPECT_EQ(far_.Read(), "question") << "a connection moved";
  proxy_.Reset();
  EXPECT_EQ(near_.Read(), "");
  const Socket again(Connect(proxy_));
  const Socket there(other.Accept());
  again.Write("question");
  EXPECT_EQ(there.Read(), "question");
}

TEST_F(TcpProxyTest, HoldsBytesBackForTheLatency) {
  constexpr absl::Duration kLatency = absl::Milliseconds(100);
  proxy_.SetLatency(kLatency);
  near_.Write("first");
  EXPECT_EQ(far_.Read(), "first");  // Whether it took effect before this, nobody knows.
  const absl::Time start = absl::Now();
  near_.Write("question");
  EXPECT_EQ(far_.Read(), "question");
  far_.Write("answer");
  EXPECT_EQ(near_.Read(), "answer");
  EXPECT_GE(absl::Now() - start, 2 * kLatency);
}

}  // namespace
}  // namespace latchkey::testing
