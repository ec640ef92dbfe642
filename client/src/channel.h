#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "grpcpp/channel.h"

namespace latchkey::client {

// Whether a channel shares its connections with others.
enum class Sharing {
  kShared,  // Its connections may serve other channels to the same address too.
  kOwn,     // Connections of its own, made anew: the way to another server behind one address.
};

// Plaintext gRPC channel to `server`, a gRPC target whose addresses take turns; not connected yet. It reconnects by
// itself, at most two seconds after the server is back, and notices a silently dead connection within seconds while
// calls are made. INVALID_ARGUMENT if the target is empty or gRPC can't read it.
//
// The last reference to a channel must not be dropped on one of gRPC's own threads: that would wait for itself.
absl::StatusOr<std::shared_ptr<grpc::Channel>> MakeChannel(const std::string& server,
                                                           Sharing sharing = Sharing::kShared);

}  // namespace latchkey::client
