#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "grpcpp/channel.h"

namespace latchkey::client {

// A plaintext channel to `server`, a gRPC target; not connected yet. It reconnects by itself, at most two seconds after
// the server is back, and notices a silently dead connection within seconds while calls are made. INVALID_ARGUMENT if
// the target is empty or gRPC can't read it.
absl::StatusOr<std::shared_ptr<grpc::Channel>> MakeChannel(const std::string& server);

}  // namespace latchkey::client
