#pragma once

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
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
  int look_at_one_in = 64;  // Answers; 1 = each.
};

struct Measurement {
  double seconds = 0;
  Histogram latency;          // Of the calls that ended while it was measured.
  int64_t failures = 0;       // Errors and wrong answers.
  int64_t refused = 0;        // Of them: RESOURCE_EXHAUSTED.
  std::string first_failure;  // Never of a request's contents.
  double server_cpu_seconds = 0;
  int items = 1;  // That one latency stands for.

  void Add(const Measurement& other) {
    seconds += other.seconds;
    latency.Add(other.latency);
    failures += other.failures;
    refused += other.refused;
    if (first_failure.empty()) first_failure = other.first_failure;
    server_cpu_seconds += other.server_cpu_seconds;
    items = other.items;
  }
  // Of calls, or of a stream's items.
  double rate() const { return static_cast<double>(latency.total()) * items / seconds; }
  double server_cpu_us() const {
    return latency.total() == 0 ? 0 : server_cpu_seconds * 1e6 / (static_cast<double>(latency.total()) * items);
  }
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

// Open loop: `rate` calls a second at even distances, in turn over the channels, whatever becomes of the earlier ones.
// A call's latency counts from the time at which it should have been sent, so that what a stall delays is not left out
// (coordinated omission). Fails the measurement if more than 20,000 calls are in flight.
Measurement RunOpenLoop(const Channels& channels, const Target& target, double rate, absl::Duration warm_up,
                        absl::Duration length, pid_t server);

// What goes over a bidirectional stream: each message of `requests` is in flight at most once a stream and holds
// `items` items; it is answered by one message, in order.
struct StreamTarget {
  std::string method;
  std::vector<grpc::ByteBuffer> requests;
  int items = 64;
  std::string bearer;
  size_t answer_bytes = 0;  // For the echo servers (echo_server.h).
  // Whether it answers the request with this position. One in 64 is looked at.
  std::function<bool(size_t, grpc::ByteBuffer&)> is_right;
};
// Closed loop: one stream a channel, all of the requests in flight on it at any time. Latencies are of messages, the
// rate is of items.
Measurement RunStreams(const Channels& channels, const StreamTarget& target, absl::Duration warm_up,
                       absl::Duration length, pid_t server);

// What every call of the bench carries: a deadline of 10 s, and the caller's key if there is one.
void PrepareContext(grpc::ClientContext& context, const std::string& bearer);

// One call; blocks. `took` in nanoseconds.
grpc::Status CallOnce(const std::shared_ptr<grpc::Channel>& channel, const std::string& method,
                      const std::string& bearer, const grpc::ByteBuffer& request, grpc::ByteBuffer& response,
                      int64_t& took);

// Nanoseconds of a clock that only goes forward.
int64_t NowNanoseconds();

}  // namespace latchkey::bench
