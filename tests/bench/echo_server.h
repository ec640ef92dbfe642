#pragma once

#include <string>

namespace latchkey::bench {

// Bare servers on a free loopback port, the floors of every RPC. Both answer, without looking at anything,
//   KeyVerify/Verify: a request whose key has 90 characters (a message of 92 bytes) with a message of about that size,
//     any other with one canned verdict on a proven key;
//   kEchoStream: each message of a bidirectional stream with as many bytes as the metadata kAnswerBytes says.
// They print "echo on PORT", run until SIGTERM and return the exit code.
inline constexpr char kEchoStream[] = "/latchkey.bench.Echo/Stream";
inline constexpr char kAnswerBytes[] = "answer-bytes";

// gRPC's callback API, as latchkeyd uses it.
int RunCallbackEchoServer();
// One completion queue with one thread.
int RunQueueEchoServer();

}  // namespace latchkey::bench
