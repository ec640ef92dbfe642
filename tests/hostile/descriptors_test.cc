// Attacks on connections and descriptors.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "tests/hostile/http2_peer.h"
#include "tests/hostile/target.h"
#include "tests/support/postgres_environment.h"
#include "tests/support/temp_directory.h"

namespace latchkey::hostile {
namespace {

using testing::Eventually;
using testing::HealthOf;
using Health = grpc::health::v1::HealthCheckResponse;

size_t DescriptorsOf(Target& target) {
  const std::string path = "/proc/" + std::to_string(target.server().process().pid()) + "/fd";
  std::error_code error;
  const auto entries = std::filesystem::directory_iterator(path, error);
  return static_cast<size_t>(std::distance(begin(entries), end(entries)));
}

void LimitDescriptors(Target& target, rlim_t limit) {
  rlimit now{};
  ASSERT_EQ(prlimit(target.server().process().pid(), RLIMIT_NOFILE, nullptr, &now), 0);
  now.rlim_cur = limit;
  ASSERT_EQ(prlimit(target.server().process().pid(), RLIMIT_NOFILE, &now, nullptr), 0);
}

bool NewConnectionServes(Target& target) { return HealthOf(testing::ChannelTo(target.address())) == Health::SERVING; }

TEST(Descriptors, ServerThatRanOutOfThemAcceptsAgain) {
  Target target;
  LimitDescriptors(target, DescriptorsOf(target) + 20);
  {
    std::vector<std::unique_ptr<Http2Peer>> peers;
    for (int i = 0; i < 300; ++i) peers.push_back(std::make_unique<Http2Peer>(target.address()));
    // Those for whom there is no descriptor are closed and not left to wait.
    EXPECT_TRUE(peers.back()->WaitUntilClosed(absl::Seconds(10)));
    EXPECT_THAT(target.server().process().error(), ::testing::HasSubstr("no descriptors left"));
  }
  EXPECT_TRUE(Eventually(absl::Seconds(10), [&] { return NewConnectionServes(target); }));
}

TEST(Descriptors, SilentConnectionsDoNotKeepOthersOut) {
  Target target({"--max-connections", "200"});
  ExpectUnharmed(
      "2,000 silent connections", target,
      [&](Target::Moments& moments) {
        std::vector<std::unique_ptr<Http2Peer>> peers;
        for (int i = 0; i < 2'000 && !moments.over; ++i) {
          peers.push_back(std::make_unique<Http2Peer>(target.address()));
          moments.begun = i > 500;
        }
        moments.begun = true;
        while (!moments.over) std::this_thread::sleep_for(std::chrono::milliseconds(20));
      },
      kManyConnections);
}

TEST(Descriptors, ConnectionsOfAnAddressAreBounded) {
  Target target({"--max-connections", "200", "--max-connections-per-address", "20"});
  std::vector<std::unique_ptr<Http2Peer>> peers;
  for (int i = 0; i < 30; ++i) peers.push_back(std::make_unique<Http2Peer>(target.address()));
  // The oldest make room.
  EXPECT_TRUE(peers.front()->WaitUntilClosed(absl::Seconds(10)));
  EXPECT_FALSE(peers.back()->WaitUntilClosed(absl::Milliseconds(100)));
  EXPECT_TRUE(NewConnectionServes(target));
  peers.clear();
  EXPECT_TRUE(Eventually(absl::Seconds(10), [&] { return NewConnectionServes(target); }));
}

TEST(Descriptors, EndedConnectionsGiveTheirDescriptorsBack) {
  Target target;
  const size_t before = DescriptorsOf(target);
  ASSERT_GT(before, 0u);
  for (int i = 0; i < 200; ++i) {
    Http2Peer peer(target.address());
    peer.WaitFor("", absl::Milliseconds(1));
  }
  EXPECT_TRUE(Eventually(absl::Seconds(20), [&] { return DescriptorsOf(target) <= before + 4; }))
      << before << " before, " << DescriptorsOf(target) << " now";
}

TEST(Descriptors, DeafServerEndsWithOneLine) {
  // gRPC's own accept never accepts again once it was without a descriptor.
  Target target({"--accept", "library", "--watchdog-seconds", "0.2"});
  LimitDescriptors(target, DescriptorsOf(target) + 5);
  std::vector<std::unique_ptr<Http2Peer>> peers;
  for (int i = 0; i < 30; ++i) peers.push_back(std::make_unique<Http2Peer>(target.address()));
  ASSERT_TRUE(Eventually(absl::Seconds(10),
                         [&] { return target.server().process().error().find("Failed accept") != std::string::npos; }));
  LimitDescriptors(target, 1'000);
  const std::optional<int> code = target.server().process().WaitFor(absl::Minutes(1));
  EXPECT_EQ(code, 70);
  EXPECT_THAT(target.server().process().error(), ::testing::HasSubstr("the own listener does not answer"));
}

TEST(Descriptors, SystemdIsToldThatTheServerAnswers) {
  const testing::TempDirectory directory;
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  directory.Child("notify").copy(name.sun_path, sizeof name.sun_path - 1);
  const int notify = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  ASSERT_EQ(bind(notify, reinterpret_cast<const sockaddr*>(&name), sizeof name), 0);
  const testing::Installation installation(testing::FreshDatabase());
  testing::RunningServer server(installation.Serve(),
                                {"NOTIFY_SOCKET=" + directory.Child("notify"), "WATCHDOG_USEC=200000"});
  char text[64] = "";
  pollfd wait{notify, POLLIN, 0};
  ASSERT_EQ(poll(&wait, 1, 30'000), 1);
  ASSERT_GT(recv(notify, text, sizeof text - 1, 0), 0);
  EXPECT_STREQ(text, "WATCHDOG=1");
  close(notify);
}

}  // namespace
}  // namespace latchkey::hostile
