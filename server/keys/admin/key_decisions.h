#pragma once

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/keys/admin/key_changes.h"
#include "server/keys/crypto/key_minter.h"
#include "server/model/key_store.h"
#include "server/model/principal.h"
#include "server/model/records.h"

// The decisions on creating, updating and deleting a key: pure functions of what was read under locks
// (storage::LockedState), of who asks and of what is asked. They read no store, no memory and no clock, so that the
// store may call them again, and any thread.
namespace latchkey::keys {

// What is to become of a key.
struct KeyDecision {
  enum class Outcome {
    kWrite,            // `mutation` is to be written.
    kNothingToChange,  // It is as asked already.
    // Nothing can be decided until the organization is locked too: decide again on a state that is read under that
    // lock.
    kStartOver,
  };
  Outcome outcome = Outcome::kNothingToChange;
  // The after-image, but for its revision, which is the store's to give; the key as it is unless the outcome is kWrite.
  KeyRecord key;
  storage::Mutation mutation;  // Empty unless the outcome is kWrite.
};

// Whether the key is an owner that its organization can count on: live and without expiry. The last one of an
// organization stays one (LAST_OWNER): from inside, nobody else could make another.
bool IsLastingOwner(const KeyRecord& key);

// The key that `minted` becomes. Reads the caller's key, the wanted role, the organization and whether the request is
// a replay. CREDENTIALS_INVALID, PERMISSION_MISSING, ORGANIZATION_NOT_FOUND (also for one that the caller does not act
// on), REQUEST_REPLAYED, ROLE_UNKNOWN, FIELD_INVALID (an expire_time in the past), ROLE_EXCEEDS_CREATOR,
// EXPIRY_EXCEEDS_CREATOR, CIDRS_EXCEED_CREATOR.
absl::StatusOr<KeyDecision> DecideCreate(const storage::LockedState& state, const Principal& caller,
                                         const NewKey& wanted, const MintedKey& minted, const Audit& audit);

// The key after the edit. Reads the keys of the caller, the target and its creator, the wanted role, the target's
// children and the count of other owners. `organization_locked`: whether the state was read with the organization
// locked; it never says kStartOver then. CREDENTIALS_INVALID, PERMISSION_MISSING, KEY_NOT_FOUND (also for a key of
// another organization), KEY_DELETED, ETAG_MISMATCH, ROLE_UNKNOWN, FIELD_INVALID, the three of the ceiling,
// DESCENDANTS_EXCEED_CREATOR, LAST_OWNER.
absl::StatusOr<KeyDecision> DecideUpdate(const storage::LockedState& state, const Principal& caller,
                                         const KeyEdit& edit, bool organization_locked, const Audit& audit);

// The key after it was deleted, to be purged after `keep_deleted`. Of a deleted one only the reason may still change,
// to a stronger one. Reads the keys of the caller and the target and the count of other owners; `organization_locked`
// as above. CREDENTIALS_INVALID, PERMISSION_MISSING, KEY_NOT_FOUND, ROLE_EXCEEDS_CREATOR, ETAG_MISMATCH, LAST_OWNER.
absl::StatusOr<KeyDecision> DecideDelete(const storage::LockedState& state, const Principal& caller,
                                         const KeyRemoval& removal, bool organization_locked,
                                         absl::Duration keep_deleted, const Audit& audit);

}  // namespace latchkey::keys
