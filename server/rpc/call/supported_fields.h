#pragma once

#include <set>
#include <string>

#include "absl/status/status.h"
#include "google/protobuf/message.h"

namespace latchkey::rpc {

// Which input fields of a request the server acts on. Paths are those of field masks: "key.display_name".
struct FieldRules {
  // Acted on. A message field of which some child is listed too is searched; any other one is taken whole.
  std::set<std::string> supported;
  // Output-only fields, which a caller may send back as it read them (AIP-203).
  std::set<std::string> ignored;
};

// FIELD_NOT_SUPPORTED naming the first field that is set (not its default) and is in neither set, or that this build
// does not know ("unknown field 99"): ignoring, say, an `allowed_cidrs` would fail open. `prefix` goes in front of
// paths.
absl::Status CheckSupported(const google::protobuf::Message& message, const FieldRules& rules,
                            const std::string& prefix = "");

}  // namespace latchkey::rpc
