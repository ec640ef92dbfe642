#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "client/core/revision_token.h"
#include "server/keys/replication/log_follower.h"
#include "server/model/key_store.h"
#include "server/model/records.h"
#include "server/model/with_revision.h"

namespace latchkey::keys {

// `record` as it stands after `committed`, with the revision that made it so. Hands the rows, and `proofs` with them,
// to the follower first, so that this server answers by them at once. If nothing was written, the record is as old as
// its revision, whose chain the store knows.
template <typename Record>
absl::StatusOr<WithRevision<Record>> CommittedRecord(storage::KeyStore& store, LogFollower& follower,
                                                     const storage::Committed& committed, Record record,
                                                     const std::vector<KeyProof>& proofs = {}) {
  WithRevision<Record> result{std::move(record), {}};
  if (committed.rows.empty()) {
    const absl::StatusOr<std::optional<std::string>> chain = store.ReadChain(result.record.revision);
    if (!chain.ok()) return chain.status();
    if (*chain) result.revision = core::RevisionToken::Of(result.record.revision, **chain);
    return result;
  }
  follower.Deliver(committed, proofs);
  const LogRow& row = committed.rows.back();
  result.record.revision = row.rev;
  result.revision = core::RevisionToken::Of(row.rev, row.chain);
  return result;
}

}  // namespace latchkey::keys
