#pragma once

#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/core/revision_token.h"
#include "client/core/secret.h"
#include "server/base/clock.h"
#include "server/keys/admin/key_changes.h"
#include "server/keys/admin/key_decisions.h"
#include "server/keys/crypto/key_minter.h"
#include "server/keys/replication/key_index.h"
#include "server/keys/replication/log_follower.h"
#include "server/model/key_store.h"
#include "server/model/principal.h"
#include "server/model/records.h"
#include "server/model/with_revision.h"

namespace latchkey::keys {

struct IssuedKey {
  KeyRecord key;
  core::RevisionToken revision;
  core::Secret key_string;  // The only copy there will ever be.
};

// A page of keys, newest first.
struct KeyPage {
  std::vector<KeyRecord> keys;
  bool more = false;  // There may be keys after the last one.
};

// Issues, reads, edits and revokes keys, under the ceiling: no key ever holds what its creator does not. The argument
// values are already validated (server/rpc); the permission for the RPC has been checked against memory, and is checked
// again here under locks (key_decisions.h). Another organization's key is KEY_NOT_FOUND. Thread-safe; every call may
// block.
class KeyRegistry {
 public:
  struct Options {
    std::string label;   // In front of every key string; "" = none.
    std::string server;  // Names this server in the audit.
    absl::Duration keep_deleted = absl::Hours(24 * 90);
  };
  // `revocations`: the same keys as `store`, on database sessions that nothing else holds: what may take something away
  // goes by it, so that no number of other calls holds up a revocation. May be the same object.
  KeyRegistry(storage::KeyStore& store, storage::KeyStore& revocations, KeyIndex& index, LogFollower& follower,
              const KeyMinter& minter, const base::Clock& clock, Options options);

  // Errors beside the store's: ORGANIZATION_NOT_FOUND, ROLE_UNKNOWN, ROLE_EXCEEDS_CREATOR, EXPIRY_EXCEEDS_CREATOR,
  // CIDRS_EXCEED_CREATOR, FIELD_INVALID (an expire_time in the past), REQUEST_REPLAYED, HASH_POOL_FULL.
  absl::StatusOr<IssuedKey> Create(const Principal& caller, const NewKey& wanted, absl::Duration patience);
  absl::StatusOr<KeyRecord> Get(const Principal& caller, const std::string& organization, const std::string& kid);
  absl::StatusOr<KeyPage> List(const Principal& caller, const storage::KeyQuery& query);
  // Errors beside those of Create: KEY_NOT_FOUND, KEY_DELETED, ETAG_MISMATCH, LAST_OWNER, DESCENDANTS_EXCEED_CREATOR.
  absl::StatusOr<WithRevision<KeyRecord>> Update(const Principal& caller, const KeyEdit& edit);
  // When it returns OK, this server answers REVOKED. Deleting a deleted key succeeds and may only strengthen the
  // reason.
  absl::StatusOr<WithRevision<KeyRecord>> Delete(const Principal& caller, const KeyRemoval& removal);

  // The state of a key at the database's time `now`, for output.
  enum class State { kActive, kExpired, kDeleted };
  static State StateOf(const KeyRecord& key, absl::Time now);
  // The database's clock, as last sampled.
  absl::Time DatabaseNow() const;

 private:
  using DecideKey =
      absl::FunctionRef<absl::StatusOr<KeyDecision>(const storage::LockedState& state, bool organization_locked)>;
  absl::StatusOr<KeyRecord> Read(storage::KeyStore& store, const Principal& caller, const std::string& organization,
                                 const std::string& kid);
  // Commits what `decide` returns, on a state locked as `plan` says; once more with the organization locked if it says
  // kStartOver. `proofs` are handed on with the rows.
  absl::StatusOr<WithRevision<KeyRecord>> Commit(storage::KeyStore& store, storage::LockPlan plan, DecideKey decide,
                                                 const std::vector<KeyProof>& proofs = {});
  Audit AuditFor(const Principal& caller, const char* method, const std::string& request_id) const;

  storage::KeyStore& store_;
  storage::KeyStore& revocations_;
  KeyIndex& index_;
  LogFollower& follower_;
  const KeyMinter& minter_;
  const base::Clock& clock_;
  const Options options_;
};

}  // namespace latchkey::keys
