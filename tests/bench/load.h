#pragma once

#include <grpcpp/channel.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/status.h>
#include <sys/types.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "google/protobuf/message.h"
#include "tests/bench/histogram.h"

namespace latchkey::bench {

using Channels = std::vector<std::shared_ptr<grpc::Channel>>;

// What is called again and again. Requests are serialised once, and one answer in 64 is looked at, so that the client
// costs the same in every row.
struct Target {
  std::string method;                      // "/latchkey.v1.KeyVerify/Verify".
  std::vector<grpc::ByteBuffer> requests;  // Sent in turn.
  std::string bearer;                      // "" = no authorization header.
  std::function<bool(grpc::ByteBuffer&)> is_right;
};

struct Measurement {
  double seconds = 0;
  Histogram latency;  // Of the calls that ended while it was measured.
  int64_t failures = 0;
  std::string first_failure;  // Never of a request's contents.
  double server_cpu_seconds = 0;

  void Add(const Measurement& other) {
    seconds += other.seconds;
    latency.Add(other.latency);
    failures += other.failures;
    if (first_failure.empty()) first_failure = other.first_failure;
    server_cpu_seconds += other.server_cpu_seconds;
  }
  double rate() const { return static_cast<double>(latency.total()) / seconds; }
};

// `count` channels with a TCP connection each, connected.
Channels Connect(const std::string& address, int count);

grpc::ByteBuffer Serialised(const google::protobuf::Message& message);
// False if the bytes are not such a message.
bool Parse(grpc::ByteBuffer& bytes, google::protobuf::Message& message);

// Closed loop: `in_flight` calls on each channel at any time, for `warm_up` unmeasured and `length` measured. `server`
// is the process whose CPU time is charged.
Measurement RunClosedLoop(const Channels& channels, const Target& target, int in_flight, absl::Duration warm_up,
                          absl::Duration length, pid_t server);

// One call; blocks. `took` in nanoseconds.
grpc::Status CallOnce(const std::shared_ptr<grpc::Channel>& channel, const std::string& method,
                      const std::string& bearer, const grpc::ByteBuffer& request, grpc::ByteBuffer& response,
                      int64_t& took);

// Nanoseconds of a clock that only goes forward.
int64_t NowNanoseconds();

}  // namespace latchkey::bench
