#include "client/src/caller_metadata.h"

#include <string>

#include "absl/time/clock.h"

namespace latchkey::client {

void PrepareCall(const core::Secret& caller_key, absl::Duration timeout, grpc::ClientContext& context) {
  std::string authorization = "Bearer ";
  authorization += caller_key.Expose();
  context.AddMetadata("authorization", authorization);
  core::CleanseString(authorization);
  context.set_deadline(absl::ToChronoTime(absl::Now() + timeout));
  context.set_wait_for_ready(false);
}

}  // namespace latchkey::client
