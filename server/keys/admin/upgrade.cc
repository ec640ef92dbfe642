#include "server/keys/admin/upgrade.h"

#include <algorithm>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/core/clock.h"
#include "client/core/resource_names.h"
#include "server/base/errors.h"
#include "server/keys/admin/next_settings.h"
#include "server/model/change_codec.h"

namespace latchkey::keys {
namespace {

constexpr absl::Duration kLookEvery = absl::Milliseconds(100);

bool CantRead(const storage::Replica& replica) { return replica.newest_level < kNewestLevel; }

absl::Status StillRunningError(const storage::Replica& replica) {
  return absl::FailedPreconditionError(absl::StrCat(
      "server ", replica.id, replica.doorbell.empty() ? "" : absl::StrCat(" (", replica.doorbell, ")"),
      " reads feature levels ", replica.oldest_level, " to ", replica.newest_level, ", not ", kNewestLevel,
      ", and is running: replace it by this version or stop it first (latchkeyd replicas lists all; a server of this "
      "version logs its id when it starts)"));
}

}  // namespace

absl::Status Upgrade::ForgetDeadReplicas(std::vector<std::string>& departed) {
  storage::KeyStore& store = dependencies_.store;
  absl::StatusOr<std::vector<storage::Replica>> replicas = store.ReadReplicas();
  if (!replicas.ok()) return replicas.status();
  std::map<std::string, int64_t> beats;
  for (const storage::Replica& replica : *replicas) {
    if (CantRead(replica)) beats[replica.id] = replica.beat;
  }
  if (beats.empty()) return absl::OkStatus();

  // After the read: the lease that goes with a beat was anchored before the beat could be seen.
  const base::BootTime seen_at = dependencies_.clock.BootNow();
  absl::Duration longest;
  for (bool over = false; !over;) {
    // Read after the beats: a lease is never longer than what the settings say once its beat is seen.
    const absl::StatusOr<Settings> settings = store.ReadSettings();
    if (!settings.ok()) return settings.status();
    const absl::Duration lease = core::WithClockError(std::max(settings->bound, settings->previous_bound));
    if (lease > longest && dependencies_.waiting) dependencies_.waiting(lease);
    longest = std::max(longest, lease);
    over = dependencies_.clock.BootNow() >= seen_at + longest;
    replicas = store.ReadReplicas();
    if (!replicas.ok()) return replicas.status();
    for (const storage::Replica& replica : *replicas) {
      if (!CantRead(replica)) continue;
      const auto seen = beats.find(replica.id);
      if (seen == beats.end() || seen->second != replica.beat) return StillRunningError(replica);
    }
    if (!over) dependencies_.pause(kLookEvery);
  }
  for (const storage::Replica& replica : *replicas) {
    if (!CantRead(replica)) continue;
    const absl::StatusOr<bool> gone = store.ForgetReplica(replica.id, replica.beat);
    if (!gone.ok()) return gone.status();
    if (!*gone) return StillRunningError(replica);
    departed.push_back(replica.id);
  }
  return absl::OkStatus();
}

absl::StatusOr<Upgrade::Result> Upgrade::Finish(const std::string& server) {
  storage::KeyStore& store = dependencies_.store;
  const absl::StatusOr<Settings> settings = store.ReadSettings();
  if (!settings.ok()) return settings.status();
  Result result{.from = settings->level, .level = std::max(settings->level, kNewestLevel)};
  if (settings->level >= kNewestLevel) return result;
  if (absl::Status forgotten = ForgetDeadReplicas(result.departed); !forgotten.ok()) return forgotten;

  const Audit audit{"operator", "", "upgrade finish", "", server};
  // Who else changes the settings waits for this row.
  storage::LockPlan plan;
  plan.organization = std::string(core::kSystemOrganization);
  plan.lock_organization = true;
  const auto decide = [&](const storage::LockedState& locked) -> absl::StatusOr<storage::Mutation> {
    storage::Mutation mutation;
    if (locked.settings.level >= kNewestLevel) return mutation;
    Change change;
    change.settings = NextSettings(locked.settings, locked.settings.bound, locked.now);
    change.settings->level = kNewestLevel;
    change.body = EncodeBody(change, audit);
    mutation.changes.push_back(std::move(change));
    return mutation;
  };
  const absl::StatusOr<storage::Committed> committed = store.Commit(plan, decide);
  if (errors::ReasonOf(committed.status()) == errors::Reason::kContended) {
    // A server that came between: the store refuses the level, and it has a name now.
    const absl::StatusOr<std::vector<storage::Replica>> replicas = store.ReadReplicas();
    if (!replicas.ok()) return committed.status();
    const auto found = std::find_if(replicas->begin(), replicas->end(), CantRead);
    if (found != replicas->end()) return StillRunningError(*found);
  }
  if (!committed.ok()) return committed.status();
  if (!committed->rows.empty()) result.revision = committed->rows.back().rev;
  return result;
}

}  // namespace latchkey::keys
