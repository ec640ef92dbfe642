#pragma once

#include <memory>
#include <string_view>

#include "absl/time/time.h"
#include "client/src/connection.h"
#include "latchkey/verifier.h"

namespace latchkey::client {

// The Verifier that asks the server every time, except for strings that are no key strings.
class RemoteVerifier : public Verifier {
 public:
  // `timeout` is the most that a call may take.
  RemoteVerifier(std::unique_ptr<Connection> connection, absl::Duration timeout);

  Answer Verify(std::string_view key_string, const VerifyParams& params) override;
  void VerifyAsync(std::string_view key_string, const VerifyParams& params, Callback done) override;
  bool WaitUntilConnected(absl::Duration patience) override;

 private:
  const std::unique_ptr<Connection> connection_;
  const absl::Duration timeout_;
};

}  // namespace latchkey::client
