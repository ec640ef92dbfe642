#pragma once

#include <optional>

#include "absl/status/status.h"
#include "client/core/presented_key.h"
#include "latchkey/verifier.h"

namespace latchkey::client {

// Checks and answers that need neither cache nor server.

// INVALID_ARGUMENT naming the field that no server would take. The caller's own mistakes must show on every key, so
// they are looked for before anything else.
absl::Status CheckParams(const VerifyParams& params);

// The answer that needs neither memory nor a server, if there is one: the string is no key string, or no time is left.
// For params that CheckParams found right.
std::optional<Answer> AnswerOffline(const core::PresentedKey& key, const VerifyParams& params);

}  // namespace latchkey::client
