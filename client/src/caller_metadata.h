#pragma once

#include "absl/time/time.h"
#include "client/core/secret.h"
#include "grpcpp/client_context.h"

namespace latchkey::client {

// Readies `context` for one call: `authorization: Bearer` with the caller's key, a deadline `timeout` from now, and no
// waiting for a server that is away.
void PrepareCall(const core::Secret& caller_key, absl::Duration timeout, grpc::ClientContext& context);

}  // namespace latchkey::client
