#pragma once

#include <memory>
#include <string_view>

#include "absl/time/time.h"
#include "client/core/clock.h"
#include "client/src/connection.h"
#include "latchkey/verifier.h"

namespace latchkey::client {

// Verifier without a cache: asks the server every time, except for strings that are no key strings. What allows a key
// is believed only until (just before its request was written) + its lease_remaining; later it is undecided.
class RemoteVerifier : public Verifier {
 public:
  // `timeout` is the most that a call may take.
  RemoteVerifier(std::unique_ptr<Connection> connection, absl::Duration timeout);

  Answer Verify(std::string_view key_string, const VerifyParams& params) override;
  void VerifyAsync(std::string_view key_string, const VerifyParams& params, Callback done) override;
  bool WaitUntilConnected(absl::Duration patience) override;

 private:
  const core::SystemClock clock_;  // Before the connection, whose last callbacks read it.
  const std::unique_ptr<Connection> connection_;
  const absl::Duration timeout_;
};

}  // namespace latchkey::client
