#pragma once

#include <optional>
#include <string_view>

#include "absl/status/status.h"
#include "latchkey/verifier.h"

namespace latchkey::client {

// Checks and answers that need neither cache nor server.

// INVALID_ARGUMENT naming the field that no server would take. The caller's own mistakes must show on every key, so
// they are looked for before anything else.
absl::Status CheckParams(const VerifyParams& params);

// The answer that needs neither memory nor a server, if there is one: the string is no key string, or no time is left.
// For params that CheckParams found right.
std::optional<Answer> AnswerOffline(std::string_view key_string, const VerifyParams& params);

}  // namespace latchkey::client
