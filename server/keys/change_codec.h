#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "server/keys/records.h"

namespace latchkey::keys {

// The body of a change-log row: one versioned JSON object {"v":1, "key"|"organization"|"role": after-image, "audit":
// {...}}, UTF-8, without secrets. The bytes are what the chain covers, so they are built once, here, and stored as they
// are. Times are microseconds since the epoch; an absent time is Never(). `revision` is not part of it: it is the
// row's.
std::string EncodeBody(const Change& change, const Audit& audit);

// What a body says; the record's revision is `row.rev`. INTERNAL for a version or shape this build does not know: a
// follower must stop rather than guess.
absl::StatusOr<Change> DecodeBody(const LogRow& row);

// SHA-256(previous ‖ be64(rev) ‖ be64(at µs) ‖ be32(len) ‖ body).
std::string ChainOf(const std::string& previous, int64_t rev, absl::Time at, const std::string& body);

}  // namespace latchkey::keys
