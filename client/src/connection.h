#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "client/core/secret.h"
#include "grpcpp/channel.h"
#include "latchkey/v1/key_verify.grpc.pb.h"
#include "latchkey/verifier.h"

namespace latchkey::client {

// Client of KeyVerify's unary calls over one channel, in the caller's name. Thread-safe. What Verify hands back is the
// whole response, because a cache needs more of it than an Answer shows.
class Connection {
 public:
  // The response is meaningful only if the status is OK.
  using Done = std::function<void(absl::Status, const v1::VerifyResponse&)>;
  using Reported = std::function<void(absl::Status)>;

  Connection(std::shared_ptr<grpc::Channel> channel, core::Secret caller_key);
  // Waits for the calls in flight: at most the longest of their timeouts. Not to be run by a `done`.
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  // Asks once. `done` is called exactly once, on a thread of gRPC's. Errors have the server's code, message and
  // details, but never quote the key, whatever the server says. `params.timeout` does not count, `timeout` does.
  // `min_revision`: a token that the answer must include; "" = none.
  void Verify(std::string_view key_string, const VerifyParams& params, absl::Duration timeout,
              const std::string& min_revision, Done done);

  // Reports once; as above.
  void ReportUsage(const v1::ReportUsageRequest& report, absl::Duration timeout, Reported done);

  bool WaitUntilConnected(absl::Duration patience);

  const core::Secret& caller_key() const { return caller_key_; }

 private:
  class Calls;
  struct Call;
  struct Report;

  const std::shared_ptr<grpc::Channel> channel_;
  const std::unique_ptr<v1::KeyVerify::Stub> stub_;
  const core::Secret caller_key_;
  // Shared with the calls, so that the last one touches nothing that the destructor has freed.
  const std::shared_ptr<Calls> calls_;
};

}  // namespace latchkey::client
