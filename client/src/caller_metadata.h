#pragma once

#include "absl/time/time.h"
#include "client/core/secret.h"
#include "grpcpp/client_context.h"

namespace latchkey::client {

// Call credentials: readies `context` for one stream, with `authorization: Bearer` and the caller's key, no deadline,
// and no waiting for a server that is away.
void PrepareStream(const core::Secret& caller_key, grpc::ClientContext& context);

// The same for one call, with a deadline `timeout` from now.
void PrepareCall(const core::Secret& caller_key, absl::Duration timeout, grpc::ClientContext& context);

}  // namespace latchkey::client
