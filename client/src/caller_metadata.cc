#include "client/src/caller_metadata.h"

#include <string>

#include "absl/time/clock.h"

namespace latchkey::client {

void PrepareStream(const core::Secret& caller_key, grpc::ClientContext& context) {
  std::string authorization = "Bearer ";
  authorization += caller_key.Expose();
  context.AddMetadata("authorization", authorization);
  core::CleanseString(authorization);
  context.set_wait_for_ready(false);
}

void PrepareCall(const core::Secret& caller_key, absl::Duration timeout, grpc::ClientContext& context) {
  PrepareStream(caller_key, context);
  context.set_deadline(absl::ToChronoTime(absl::Now() + timeout));
}

}  // namespace latchkey::client
