#pragma once

#include "latchkey/v1/key_verify.pb.h"
#include "server/keys/replication/watch_session.h"

// Conversion of what a Watch session writes into its wire form.
namespace latchkey::rpc {

// Writes every field of `out`, which may have been used before.
void ToProto(const keys::WatchSession::Message& message, v1::WatchResponse* out);

}  // namespace latchkey::rpc
