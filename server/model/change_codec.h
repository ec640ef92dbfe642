#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "server/model/records.h"

namespace latchkey::keys {

// The body of a change-log row: one versioned JSON object {"v":1, "key"|"organization"|"role"|"settings": after-image,
// "audit": {...}}, UTF-8, without secrets, proofs and usage. The bytes are what the chain covers, so they are built
// once, here, and stored as they are. Times are microseconds since the epoch; an absent time is Never(). `revision` is
// not part of it: it is the row's.
//
// A reader passes over fields that it does not know, so a restriction that it does not know would be a hole. Two things
// stop it. "v", the shape: 1, the first; 2, settings, or a key with "allowed_cidrs" (absent = empty = anywhere), where
// a reader of 1 stops; 3, the body has "critical": ["settings.level", ...], paths of fields in it that a reader has to
// know. And from shape 3 on that list: a field of feature level 3 or more (record_fields.h) is in it, and a reader
// stops at a path it does not know. So "v" need not rise again for a field.
std::string EncodeBody(const Change& change, const Audit& audit);

// What a body says; the record's revision is `row.rev`. A body of shape 3 about something that this build does not
// know, and that is not critical, is a Change of nothing. ROW_UNREADABLE, with the row's revision, the field and what
// was wanted there, for a shape, a form or a critical field that this build does not know: a follower must stop rather
// than guess. Numbers are integers that fit their field, times within time_range.h; nothing is converted or rounded.
absl::StatusOr<Change> DecodeBody(const LogRow& row);

// The feature level that a reader of the change's body needs: the highest of the fields that it has.
int LevelOf(const Change& change);

// OK if `changes` may be written now: UPGRADE_UNFINISHED for one that needs more than the installation's level, or than
// the one that it raises that to itself; LEVEL_UNREADABLE if this build does not read the installation's level, as an
// after-image would then lack what it does not know.
absl::Status RequireLevel(absl::Span<const Change> changes, const Settings& settings);

// SHA-256(previous ‖ be64(rev) ‖ be64(at µs) ‖ be32(len) ‖ body).
std::string ChainOf(const std::string& previous, int64_t rev, absl::Time at, const std::string& body);

}  // namespace latchkey::keys
