// What gRPC 1.51.1 itself does not bound (SECURITY.md has the figures): nothing is promised but that the server gets
// over it.
#include <gtest/gtest.h>

#include <cstdio>
#include <functional>
#include <string>

#include "tests/hostile/http2_peer.h"
#include "tests/hostile/target.h"

namespace latchkey::hostile {
namespace {

constexpr char kVerify[] = "/latchkey.v1.KeyVerify/Verify";

// Sends what `next` makes on one connection after another until it is over.
Target::Attack Repeat(Target& target, const std::function<std::string(Http2Peer& peer)>& next) {
  return [&target, next](Target::Moments& moments) {
    moments.begun = true;
    while (!moments.over) {
      Http2Peer peer(target.address());
      while (!moments.over && peer.Send(next(peer))) peer.Discard();
    }
  };
}

void ExpectRecovery(Target& target) {
  EXPECT_TRUE(target.server().WaitUntilServing(absl::Seconds(30)));
  const Figures after = target.Observe(absl::Seconds(1));
  EXPECT_EQ(after.failed, 0) << after.failure;
  std::printf("%-46s RSS %.1f MiB\n", "afterwards", static_cast<double>(after.rss_kib) / 1024);
}

TEST(Library, GetsOverStreamsThatAreResetAtOnce) {
  Target target;
  Measure("rapid reset", target, Repeat(target, [](Http2Peer& peer) {
            std::string frames;
            for (int i = 0; i < 200; ++i) {
              const uint32_t stream = peer.NextStream();
              frames += Http2Peer::Call(stream, kVerify) + Http2Peer::Reset(stream);
            }
            return frames;
          }));
  ExpectRecovery(target);
}

TEST(Library, GetsOverHeadersThatNeverEnd) {
  Target target;
  const std::string field = std::string(1, '\0') + std::string("\x01x\x7f\x80\x1e", 5) + std::string(3'967, 'v');
  const std::string block = field + field + field + field;
  Measure("CONTINUATION without an end", target, [&](Target::Moments& moments) {
    moments.begun = true;
    while (!moments.over) {
      Http2Peer peer(target.address());
      if (!peer.Send(Http2Peer::Frame(1, 0, peer.NextStream(), "\x83\x86"))) continue;
      const std::string frame = Http2Peer::Frame(9, 0, 1, block);
      while (!moments.over && peer.Send(frame)) {
      }
    }
  });
  ExpectRecovery(target);
}

}  // namespace
}  // namespace latchkey::hostile
