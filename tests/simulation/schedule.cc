#include "tests/simulation/schedule.h"

#include <algorithm>
#include <functional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/core/key_format.h"
#include "server/model/change_codec.h"
#include "tests/simulation/client.h"
#include "tests/simulation/judge.h"
#include "tests/simulation/server.h"
#include "tests/simulation/switches.h"

namespace latchkey::simulation {
namespace {

constexpr double kEnd = 45;
constexpr double kLastRevocation = 33;  // So that what is late has time to show.
constexpr double kPauseChance = 0.02;

World* paused_world = nullptr;

// The ring of every schedule: minting its strings is not what is simulated.
const keys::KeyRingHandle& Ring() {
  static const auto* const ring = new keys::KeyRingHandle(keys::KeyRing::Generate());
  return *ring;
}

// Key strings come from the CSPRNG, which no seed repeats; nothing depends on what they are.
const std::vector<std::string>& KeyStrings() {
  static const auto* const strings = [] {
    auto* const made = new std::vector<std::string>();
    for (int i = 0; i < 9; ++i) made->emplace_back(keys::KeyRingHandle::Pin(Ring())->Mint().Expose());
    return made;
  }();
  return *strings;
}

keys::RoleRecord RoleOf(const std::string& organization, const std::string& id, const std::string& permission,
                        absl::Time now) {
  return {.organization = organization, .id = id, .permissions = {permission}, .created_at = now, .updated_at = now};
}

// Rings the servers, one after the other, as a doorbell over a bad network would.
class SimulatedDoorbell final : public keys::Doorbell {
 public:
  SimulatedDoorbell(World& world, std::vector<std::unique_ptr<Server>>& servers) : world_(world), servers_(servers) {}
  void Ring(int64_t revision, bool waiting) override {
    for (const auto& server : servers_) {
      if (!world_.Chance(0.7)) continue;
      world_.In(world_.Delay(), [&server, revision, waiting] { server->Heard(revision, waiting); });
    }
  }

 private:
  World& world_;
  std::vector<std::unique_ptr<Server>>& servers_;
};

class Schedule {
 public:
  explicit Schedule(uint64_t seed)
      : world_(seed), judge_(world_), database_([this] { return world_.wall_now(); }), doorbell_(world_, servers_) {}

  Outcome Run();

 private:
  using Edit = std::function<void(keys::Change&, const storage::LockedState&)>;
  // Commits one change and tells the servers as a committing server would.
  void Commit(const std::string& organization, const std::string& kid, const Edit& edit);
  void MakeKeys();
  void Revoke(SimulatedKey& key, int kind);
  // Its role gets what the client asks for.
  void Widen(SimulatedKey& key);
  void PlanRevocations();
  void PlanTrouble();
  void RewriteHistory();
  // As `latchkeyd set-bound`.
  void SetBound(double seconds);
  // Somebody waits until a revocation is certain.
  void AwaitAll(SimulatedKey& key);
  int64_t Head();

  World world_;
  Judge judge_;
  storage::MemoryKeyStore database_;
  std::vector<SimulatedKey> keys_;
  SimulatedKey caller_;  // The client's own key: nobody asks about it.
  SimulatedDoorbell doorbell_;
  std::vector<std::unique_ptr<Server>> servers_;
  // A restored or promoted database may know of no server, or of acknowledgements of rows that are lost.
  bool replicas_are_right_ = true;
  int64_t first_head_ = 0;
};

void Schedule::Commit(const std::string& organization, const std::string& kid, const Edit& edit) {
  storage::LockPlan plan;
  plan.organization = organization;
  plan.lock_organization = true;
  if (!kid.empty()) plan.kids = {kid};
  const auto decide = [&](const storage::LockedState& state) -> absl::StatusOr<storage::Mutation> {
    keys::Change change;
    edit(change, state);
    change.body = keys::EncodeBody(change, keys::Audit());
    storage::Mutation mutation;
    mutation.changes.push_back(std::move(change));
    return mutation;
  };
  const auto committed = database_.Commit(plan, decide);
  if (!committed.ok() || servers_.empty()) return;
  // Through a server that may be slow to hear of it itself, or by somebody else's hand.
  if (world_.Chance(0.5)) {
    Server* const own = servers_[world_.Pick(static_cast<int>(servers_.size()))].get();
    world_.In(world_.Delay(), [own, own_rows = *committed] { own->Deliver(own_rows); });
  }
  doorbell_.Ring(committed->rows.back().rev, /*waiting=*/false);
}

void Schedule::MakeKeys() {
  for (const char* id : {kOrganization, "doomed"}) {
    Commit(id, "", [id](keys::Change& change, const storage::LockedState& state) {
      change.organization = keys::OrganizationRecord{.id = id, .created_at = state.now, .updated_at = state.now};
    });
  }
  for (size_t i = 0; i < KeyStrings().size(); ++i) {
    const auto parts = core::ParseKeyString(KeyStrings()[i]);
    SimulatedKey key;
    key.kid = std::string(parts->kid);
    key.text = KeyStrings()[i];
    key.role = i == 0 ? "narrowed" : i == 1 ? "doomed" : i == 2 ? "widened" : "plain";
    if (i == 1) key.organization = "doomed";
    // Not good until its role is widened.
    if (i == 2) key.dead_at = -1e6;
    Commit(key.organization, "", [&](keys::Change& change, const storage::LockedState& state) {
      change.role = RoleOf(key.organization, key.role, key.dead_at ? "app.other" : "app.use", state.now);
    });
    Commit(key.organization, "", [&](keys::Change& change, const storage::LockedState& state) {
      change.key = keys::KeyRecord{.organization = key.organization,
                                   .kid = key.kid,
                                   .role = key.role,
                                   .created_at = state.now,
                                   .updated_at = state.now,
                                   .versions = {keys::SecretVersion{1, state.now, keys::Never()}}};
      change.new_secret = keys::NewSecret{
          .version = 1, .hash = "none", .pepper_id = "1", .proof = keys::KeyRingHandle::Pin(Ring())->ProofOf(*parts)};
    });
    if (i + 1 < KeyStrings().size()) {
      keys_.push_back(std::move(key));
    } else {
      caller_ = std::move(key);
    }
  }
  first_head_ = Head();
}

void Schedule::Widen(SimulatedKey& key) {
  if (world_.ending() || key.widened_by != 0) return;
  Commit(key.organization, "", [&key](keys::Change& change, const storage::LockedState& state) {
    change.role = RoleOf(key.organization, key.role, "app.use", state.now);
  });
  key.dead_at.reset();
  key.widened_by = Head();
}

void Schedule::Revoke(SimulatedKey& key, int kind) {
  if (world_.ending()) return;
  if (key.role == "narrowed") {
    Commit(key.organization, "", [](keys::Change& change, const storage::LockedState& state) {
      change.role = RoleOf(kOrganization, "narrowed", "app.other", state.now);
    });
    key.dead_at = world_.now();
  } else if (key.role == "doomed") {
    Commit(key.organization, "", [](keys::Change& change, const storage::LockedState& state) {
      change.organization = *state.organization;
      change.organization->deleted_at = state.now;
    });
    key.dead_at = world_.now();
  } else {
    const double lifetime = kind >= 2 ? world_.Uniform(0, 3) : 0;
    Commit(key.organization, key.kid, [&](keys::Change& change, const storage::LockedState& state) {
      change.key = state.keys.at(key.kid);
      const absl::Time ends_at = state.now + absl::Seconds(lifetime);
      if (kind == 2) {
        change.key->expires_at = ends_at;
      } else if (kind == 3) {
        change.key->versions[0].expires_at = ends_at;  // The end of an overlap.
      } else {
        change.key->deleted_at = state.now;
      }
    });
    key.dead_at = world_.now() + lifetime;
  }
  key.revoked_by = Head();
  if (*key.dead_at <= world_.now() && key.kid != caller_.kid && world_.Chance(0.4)) AwaitAll(key);
}

void Schedule::AwaitAll(SimulatedKey& key) {
  world_.In(0, [this, change = keys::RevokingChange{key.revoked_by, key.organization}, &key] {
    Server& server = *servers_[world_.Pick(static_cast<int>(servers_.size()))];
    const double began = world_.now();
    if (world_.now() > kEnd - 10) return;  // It need not be over by the end.
    const bool over = server.AwaitAll(change).ok();
    if (!over) judge_.NoteEndlessWait(began);
    if (!over || world_.ending() || !replicas_are_right_) return;
    key.certain_at = world_.now();
    if (world_.now() - began < kBound) ++judge_.outcome.certainties;
  });
}

void Schedule::SetBound(double seconds) {
  if (world_.ending()) return;
  const auto before = database_.ReadSettings();
  if (!before.ok()) return;
  judge_.SetBound(seconds);
  Commit(kOrganization, "", [&](keys::Change& change, const storage::LockedState& state) {
    change.settings =
        keys::Settings{.bound = absl::Seconds(seconds), .previous_bound = before->bound, .changed_at = state.now};
  });
}

void Schedule::PlanRevocations() {
  for (SimulatedKey& key : keys_) {
    if (key.role == "widened") {
      world_.In(world_.Uniform(1, kLastRevocation), [this, &key] { Widen(key); });
      continue;
    }
    const int kind = world_.Pick(4);
    world_.In(world_.Uniform(2, kLastRevocation), [this, &key, kind] {
      if (!key.dead_at) Revoke(key, kind);
    });
  }
  if (world_.Chance(0.15)) {
    world_.In(world_.Uniform(2, kLastRevocation), [this] { Revoke(caller_, 0); });
  }
  // Changes that revoke nothing, so that pages fill.
  for (int i = world_.Pick(40); i > 0; --i) {
    world_.In(world_.Uniform(1, kEnd), [this] {
      const SimulatedKey& key = keys_[world_.Pick(static_cast<int>(keys_.size()))];
      Commit(key.organization, key.kid, [&](keys::Change& change, const storage::LockedState& state) {
        change.key = state.keys.at(key.kid);
        change.key->display_name = absl::StrCat("renamed at ", world_.now());
      });
    });
  }
}

int64_t Schedule::Head() {
  const auto page = database_.ReadLog(0, 2);
  return page.ok() ? page->head : 0;
}

// A standby that lost its tail is promoted: the newest rows are gone, and others take their revisions. What the lost
// ones had revoked lives again, and is revoked once more; what they had widened is narrow again.
void Schedule::RewriteHistory() {
  if (world_.ending()) return;
  const int64_t lost = std::min<int64_t>(1 + world_.Pick(3), Head() - first_head_);
  if (lost <= 0) return;
  replicas_are_right_ = false;
  database_.DropNewestRows(static_cast<int>(lost));
  const int64_t head = Head();
  // Nobody revokes the caller's key anew: it is good again.
  if (caller_.dead_at && caller_.revoked_by > head) caller_.dead_at.reset();
  for (SimulatedKey& key : keys_) {
    if (key.widened_by > head) {
      key.dead_at = world_.now();
      key.widened_by = 0;
      // Else nothing would tell the loss from a bound that is kept.
      if (world_.Chance(0.5)) world_.In(world_.Uniform(8, 12), [this, &key] { Widen(key); });
      continue;
    }
    key.certain_at.reset();
    if (!key.dead_at || key.revoked_by <= head) continue;
    key.dead_at.reset();
    world_.In(world_.Exponential(1), [this, &key] {
      if (!key.dead_at) Revoke(key, 0);
    });
  }
  // Other changes take the lost revisions before any server looks, revocations among them.
  for (int64_t i = 0; i < lost; ++i) {
    SimulatedKey& key = keys_[world_.Pick(static_cast<int>(keys_.size()))];
    if (!key.dead_at && key.role != "widened" && world_.Chance(0.7)) {
      Revoke(key, 0);
      continue;
    }
    Commit(kOrganization, "", [](keys::Change& change, const storage::LockedState& state) {
      change.role = RoleOf(kOrganization, "unused", "app.other", state.now);
    });
  }
}

void Schedule::PlanTrouble() {
  for (int i = world_.Pick(6); i > 0; --i) {
    const char* const links[] = {"db-s0", "db-s1", "s0-c", "s1-c"};
    const double from = world_.Uniform(0, kEnd);
    world_.Cut(links[world_.Pick(4)], from, from + world_.Exponential(6));
  }
  if (world_.Chance(0.3)) {
    const double from = world_.Uniform(1, kEnd - 10);
    servers_[world_.Pick(2)]->store().Lag(from, from + world_.Uniform(3, 20));
  }
  if (world_.Chance(0.3)) {
    replicas_are_right_ = false;
    world_.In(world_.Uniform(1, kEnd), [this] { database_.ForgetReplicas(); });
  }
  if (world_.Chance(0.3)) {
    const double from = world_.Uniform(1, kEnd - 10);
    servers_[world_.Pick(2)]->ProveNothing(from, from + world_.Uniform(5, 30));
  }
  if (world_.Chance(0.15)) {
    const double seconds = world_.Chance(0.5) ? 3 : 8;
    world_.In(world_.Uniform(2, kEnd - 10), [this, seconds] { SetBound(seconds); });
  }
  if (world_.Chance(0.3)) {
    world_.In(world_.Uniform(5, kEnd - 10), [this] { RewriteHistory(); });
  }
  if (world_.Chance(0.1)) {
    world_.In(world_.Uniform(5, kEnd - 10), [this] { database_.Restart(); });
  }
  for (const auto& server : servers_) {
    if (world_.Chance(0.2)) server->TellNoHistory();
  }
}

Outcome Schedule::Run() {
  MakeKeys();
  const int page = world_.Chance(0.5) ? 2 : 5000;
  const double grace = world_.Chance(0.2) ? 3 : 0;
  for (int i = 0; i < 2; ++i) {
    servers_.push_back(std::make_unique<Server>(world_, database_, Ring(), judge_, i, page, doorbell_));
  }
  Client client(world_, servers_, keys_, caller_, judge_, grace);
  PlanRevocations();
  PlanTrouble();
  for (const auto& server : servers_) server->Run();
  client.Run();
  paused_world = &world_;
  world_.RunUntil(kEnd);
  paused_world = nullptr;
  return judge_.outcome;
}

}  // namespace

Mutant active_mutant = Mutant::kNone;

std::string_view NameOf(Mutant mutant) {
  switch (mutant) {
    case Mutant::kNone:
      return "none";
    case Mutant::kServerLeaseAnchoredAtReceive:
      return "server: lease anchored at receive";
    case Mutant::kServerPollsALaggingStandby:
      return "server: polls a lagging standby";
    case Mutant::kServerFullPageExtends:
      return "server: a full page extends the lease";
    case Mutant::kServerZeroRowRenewalAccepted:
      return "server: a renewal of no row is accepted";
    case Mutant::kServerStreamsKeptOverAResync:
      return "server: streams kept over a resync";
    case Mutant::kServerLeaseLoadedLate:
      return "server: lease loaded after the record";
    case Mutant::kServerClockReadBeforeThePause:
      return "server: no look at the clock after the work";
    case Mutant::kServerIgnoresAFailover:
      return "server: ignores a failover that its own rows survived";
    case Mutant::kServerPongBeforeItsRows:
      return "server: a Pong before the rows that it covers";
    case Mutant::kServerLendsUnjudged:
      return "server: time is lent while the caller can't be judged";
    case Mutant::kServerCountsUnacknowledged:
      return "server: a revision counts that the client has not acknowledged";
    case Mutant::kServerBoundToldByNoHello:
      return "server: a stream goes on under a bound that no Hello told";
    case Mutant::kServerResumesAcrossAFailover:
      return "server: a stream resumes from before a failover";
    case Mutant::kServerDeliversAcrossAFailover:
      return "server: own rows are applied before their history is met";
    case Mutant::kClientPongAnchoredAtReceive:
      return "client: lease anchored at the Pong";
    case Mutant::kClientLeaseLoadedLate:
      return "client: lease loaded after the entry";
    case Mutant::kClientClockReadBeforeThePause:
      return "client: clock read before the entry";
    case Mutant::kClientStoresWithoutARevisionCheck:
      return "client: stores whatever its revision";
    case Mutant::kClientBelievesLateAnswers:
      return "client: believes late answers";
    case Mutant::kClientNeedsNoHello:
      return "client: needs no Hello";
    case Mutant::kClientKeepsAllWithoutResuming:
      return "client: keeps all at a Hello that did not resume";
    case Mutant::kClientTrustsOtherServersAtOnce:
      return "client: no settling after a Hello";
    case Mutant::kClientKeepsAcrossHistories:
      return "client: keeps all when a stream of another history resumes";
    case Mutant::kClientStoresOtherHistories:
      return "client: stores an answer of another history";
    case Mutant::kClientLentByAnotherHistory:
      return "client: a Pong of another history lends, on a stream that was not ended";
  }
  return "?";
}

void Pause() {
  if (paused_world == nullptr || paused_world->ending() || Fiber::Current() == nullptr) return;
  if (paused_world->Chance(kPauseChance)) paused_world->Sleep(paused_world->Delay());
}

void Outcome::Add(const Outcome& other) {
  accepts += other.accepts;
  lends += other.lends;
  certainties += other.certainties;
  cache_hits += other.cache_hits;
  denials += other.denials;
  undecided += other.undecided;
  late_accepts += other.late_accepts;
  worst = std::max(worst, other.worst);
  if (first_late.empty()) first_late = other.first_late;
}

Outcome RunSchedule(uint64_t seed) { return Schedule(seed).Run(); }

}  // namespace latchkey::simulation
