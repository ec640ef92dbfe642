#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "server/model/records.h"

namespace latchkey::keys {

// The body of a change-log row: one versioned JSON object {"v":1, "key"|"organization"|"role"|"settings": after-image,
// "audit": {...}}, UTF-8, without secrets, proofs and usage. The bytes are what the chain covers, so they are built
// once, here, and stored as they are. Times are microseconds since the epoch; an absent time is Never(). `revision` is
// not part of it: it is the row's.
//
// A reader skips fields it does not know, so a restriction it does not know would be a hole: whatever narrows or
// changes a verdict and is new raises "v", in the bodies that use it and in no other. 1: the first shape. 2: settings,
// or a key with "allowed_cidrs" (absent = empty = anywhere); a reader of version 1 stops there instead of accepting the
// key from everywhere or missing a change of L.
std::string EncodeBody(const Change& change, const Audit& audit);

// What a body says; the record's revision is `row.rev`. INTERNAL for a version or shape this build does not know: a
// follower must stop rather than guess.
absl::StatusOr<Change> DecodeBody(const LogRow& row);

// SHA-256(previous ‖ be64(rev) ‖ be64(at µs) ‖ be32(len) ‖ body).
std::string ChainOf(const std::string& previous, int64_t rev, absl::Time at, const std::string& body);

}  // namespace latchkey::keys
