#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/core/decision.h"
#include "client/core/key_format.h"
#include "server/base/clock.h"
#include "server/keys/hash_pool.h"
#include "server/keys/key_index.h"
#include "server/keys/key_ring.h"
#include "server/keys/principal.h"
#include "server/storage/key_store.h"

namespace latchkey::keys {

// Who a key is; set only if its secret was right.
struct Identity {
  std::shared_ptr<const KeyRecord> key;
  std::shared_ptr<const RoleRecord> role;  // nullptr if the role is gone: then it holds no permission.
  int32_t secret_version = 0;
};

struct Verdict {
  core::Decision decision = core::Decision::kUnspecified;
  std::optional<Identity> identity;
  int64_t revision = 0;
  absl::Duration lease_remaining = absl::ZeroDuration();
  absl::Duration expires_in = absl::InfiniteDuration();  // Infinite = never.
};

// What is asked. The views must outlive the call.
struct VerifyQuestion {
  std::string_view key_string;
  const std::vector<std::string>* required_permissions = nullptr;
  // The asker's organization: a key of another one is NOT_FOUND. "" or `system` = every organization.
  std::string_view asker_organization;
};

// Decides what a key string is worth now. Three answers: a verdict (allowed or denied), or an error ("could not
// decide": LEASE_EXPIRED, HASH_POOL_FULL, DATABASE_UNAVAILABLE, KEY_RING_LACKS_ID, DEADLINE_EXCEEDED). Thread-safe.
class KeyVerifier {
 public:
  KeyVerifier(storage::KeyStore& store, KeyIndex& index, const KeyRing& ring, HashPool& hashes,
              const base::Clock& clock);

  // From memory alone: never blocks, no database, no Argon2. nullopt if the key's secret has not been proven yet and
  // VerifyUnproven must look.
  std::optional<absl::StatusOr<Verdict>> VerifyFromMemory(const VerifyQuestion& question);

  // The slow path: one SELECT and Argon2, then the decision from the start. Blocks; `ticket` is the place in the hash
  // pool. Remembers the proof.
  absl::StatusOr<Verdict> VerifyUnproven(const VerifyQuestion& question, const HashPool::Ticket& ticket);

  // Both in turn, for callers that may block.
  absl::StatusOr<Verdict> Verify(const VerifyQuestion& question, absl::Duration patience);

  HashPool& hashes() { return hashes_; }

 private:
  // Whether what was read after `reading` may be from another view.
  bool Replaced(const KeyIndex::Reading& reading) const;

  storage::KeyStore& store_;
  KeyIndex& index_;
  const KeyRing& ring_;
  HashPool& hashes_;
  const base::Clock& clock_;
};

}  // namespace latchkey::keys
