#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/core/decision.h"
#include "client/core/presented_key.h"
#include "client/core/revision_token.h"
#include "server/base/clock.h"
#include "server/keys/crypto/key_ring_handle.h"
#include "server/keys/replication/key_index.h"
#include "server/keys/verify/secret_checker.h"
#include "server/keys/verify/usage_counter.h"

namespace latchkey::keys {

// Who a key is; set only if its secret was right. A copy: it outlives the index's record.
struct Identity {
  std::string organization;
  std::string kid;
  std::string display_name;
  std::string role;
  std::string owner;
  std::vector<std::string> permissions;  // The role's; none if the role is gone.
  std::map<std::string, std::string> labels;
  std::vector<std::string> allowed_cidrs;
  absl::Time expires_at = Never();  // The key's.
  int32_t secret_version = 0;
};

struct Verdict {
  core::Decision decision = core::Decision::kUnspecified;
  std::optional<Identity> identity;
  core::RevisionToken revision;
  core::HistoryId history = core::kNoHistory;  // That `revision` counts in.
  absl::Duration lease_remaining = absl::ZeroDuration();
  // To the earlier of the key's and this version's end. Infinite = never.
  absl::Duration expires_in = absl::InfiniteDuration();
};

// What memory is asked: a VerifyQuery without what has to be waited for. The views, and the key, must outlive the call.
struct MemoryQuery {
  const core::PresentedKey& key;  // Its asker's, so that it is parsed once, whatever is asked of it.
  const std::vector<std::string>* required_permissions = nullptr;
  std::string_view client_ip;  // Of who presented the key; "" = not said.
  // The asker's organization: a key of another one is NOT_FOUND. "" or `system` = every organization.
  std::string_view asker_organization;
  bool counted = true;  // As a use of the key.
};

// Decides what a key string is worth now. Three answers: a verdict (allowed or denied), or an error ("could not
// decide": LEASE_EXPIRED, KEY_RING_LACKS_ID, and those of SecretChecker::Prove). Thread-safe.
class KeyVerifier {
 public:
  // `uses` counts what is decided; nullptr = nothing does.
  KeyVerifier(KeyIndex& index, const KeyRingHandle& ring, SecretChecker& checker, const base::Clock& clock,
              UsageCounter* uses = nullptr);

  // From memory alone: never blocks, no database, no Argon2. nullopt if the key's secret has not been proven yet and
  // Prove must look.
  std::optional<absl::StatusOr<Verdict>> VerifyFromMemory(const MemoryQuery& question);

  // For a question that memory could not answer: `done` is called exactly once, with OK when memory can (ask it from
  // the start: the world has moved on), else with why not. Never blocks. An asker without a share stands for the key
  // itself: its organization's.
  void Prove(const core::PresentedKey& key, absl::Duration time_left, SecretChecker::Asker asker,
             std::function<void(absl::Status)> done);

  // Both in turn, for callers that may block.
  absl::StatusOr<Verdict> Verify(const MemoryQuery& question, absl::Duration time_left);

 private:
  KeyIndex& index_;
  const KeyRingHandle& ring_;
  SecretChecker& checker_;
  const base::Clock& clock_;
  UsageCounter* const uses_;
};

}  // namespace latchkey::keys
