#include "tests/simulation/failover_schedules.h"

#include <functional>
#include <optional>
#include <utility>

#include "client/core/revision_token.h"
#include "client/src/cache/lease_cache.h"
#include "client/src/convert.h"
#include "server/keys/replication/watch_session.h"
#include "server/rpc/verify/watch_messages.h"
#include "tests/keys/replication/replica.h"
#include "tests/support/memory_service.h"

namespace latchkey::simulation {
namespace {

constexpr char kRole[] = "writer";
constexpr char kUse[] = "app.use";
constexpr char kOther[] = "app.other";

class Installation {
 public:
  using Edit = std::function<void(keys::Change&, const storage::LockedState&)>;

  // The role of the client's key holds `permission`, and the client watches server b for longer than it takes to
  // settle.
  explicit Installation(const char* permission) {
    service_.PutRole("acme", kRole, {permission});
    key_ = service_.MustCreate(service_.acme_owner, "acme", kRole);
    EXPECT_TRUE(a.follower.Renew().ok());
    Live(7);
    EXPECT_TRUE(a.follower.Renew().ok());
    EXPECT_TRUE(session_.has_value());
  }

  // --- The database ---
  storage::Committed PutRole(const char* id, const char* permission) {
    return Commit([&](keys::Change& change, const storage::LockedState& state) {
      change.role = keys::RoleRecord{.organization = "acme",
                                     .id = id,
                                     .permissions = {permission},
                                     .created_at = state.now,
                                     .updated_at = state.now};
    });
  }
  storage::Committed DeleteKey() {
    return Commit([&](keys::Change& change, const storage::LockedState& state) {
      change.key = state.keys.at(key_.key.kid);
      change.key->deleted_at = state.now;
    });
  }
  // A standby that lacks the newest row takes the primary's place.
  void FailOver() { service_.store.DropNewestRows(1); }

  // --- The client, as its Watcher drives the cache ---
  void Listen() {
    while (session_.has_value()) {
      const std::optional<keys::WatchSession::Message> next = session_->Next();
      if (!session_->ended().ok()) HangUp();
      if (!next.has_value()) return;
      v1::WatchResponse message;
      rpc::ToProto(*next, &message);
      Hear(message);
    }
  }
  void Ping() {
    if (!session_.has_value()) Connect();
    pinged_at_ = service_.clock.BootNow();
    EXPECT_TRUE(session_->OnPing(++seq_, cache_.Applied(), true).ok());
    Listen();
  }
  // A miss that round robin sends to `server`.
  void Ask(keys::Replica& server, bool tells_history = true) {
    const client::LeaseCache::PendingRequest request = cache_.BeginRequest(key_.key_string.Expose());
    const absl::StatusOr<keys::Verdict> verdict = server.Verify(key_.key_string.Expose());
    ASSERT_TRUE(verdict.ok()) << verdict.status();
    ASSERT_EQ(verdict->decision, core::Decision::kAllowed);
    cache_.Insert(request,
                  {.decision = verdict->decision,
                   .identity = Identity(Identity::Fields{.organization = verdict->identity->organization,
                                                         .key_id = verdict->identity->kid,
                                                         .role = verdict->identity->role,
                                                         .permissions = verdict->identity->permissions,
                                                         .secret_version = verdict->identity->secret_version}),
                   .revision = verdict->revision.revision,
                   .lease_remaining = verdict->lease_remaining,
                   .expires_in = verdict->expires_in,
                   .history = tells_history ? verdict->history : core::kNoHistory},
                  params_);
  }
  bool Accepts() {
    const auto hit = cache_.Find(key_.key_string.Expose(), params_);
    return hit.has_value() && hit->decision == core::Decision::kAllowed;
  }

  // Server b and the client go on; server a hears nothing any more.
  void Live(int seconds) {
    for (int i = 0; i < seconds; ++i) {
      service_.Advance(absl::Seconds(1));
      EXPECT_TRUE(b.follower.Renew().ok());
      Listen();
      Ping();
    }
  }

 private:
  storage::Committed Commit(const Edit& edit) {
    const storage::LockPlan plan{.kids = {key_.key.kid}, .organization = "acme", .lock_organization = true};
    const auto committed =
        service_.store.Commit(plan, [&](const storage::LockedState& state) -> absl::StatusOr<storage::Mutation> {
          keys::Change change;
          edit(change, state);
          change.body = keys::EncodeBody(change, keys::Audit());
          storage::Mutation mutation;
          mutation.changes.push_back(std::move(change));
          return mutation;
        });
    EXPECT_TRUE(committed.ok()) << committed.status();
    return committed.value_or(storage::Committed());
  }

  void Connect() {
    session_.emplace(keys::WatchSession::Dependencies{b.hub, b.index, b.follower, service_.clock});
    stream_ = cache_.BeginStream();
    EXPECT_TRUE(session_->Subscribe({}, cache_.ResumeFrom().value_or(core::RevisionToken()), [] {}).ok());
    Listen();
  }
  void HangUp() {
    session_.reset();
    cache_.EndStream(stream_);
  }
  void Hear(const v1::WatchResponse& message) {
    if (message.has_hello()) {
      const v1::WatchResponse::Hello& hello = message.hello();
      cache_.Hello(stream_, *core::RevisionToken::Decode(hello.sub_revision().token()), hello.resumed(),
                   client::ToDuration(hello.max_staleness()), hello.history());
    } else if (message.has_invalidate()) {
      const v1::WatchResponse::Invalidate& what = message.invalidate();
      cache_.Invalidate(stream_, {.revision = *core::RevisionToken::Decode(what.revision().token()),
                                  .key_ids = {what.key_ids().begin(), what.key_ids().end()},
                                  .organizations = {what.organizations().begin(), what.organizations().end()},
                                  .roles = {what.roles().begin(), what.roles().end()}});
    } else if (message.has_pong()) {
      const v1::WatchResponse::Pong& pong = message.pong();
      const bool same_history = cache_.Pong(stream_, pinged_at_, *core::RevisionToken::Decode(pong.revision().token()),
                                            client::ToDuration(pong.remaining()), pong.history());
      if (!same_history) HangUp();
    }
  }

  const VerifyParams params_{.required_permissions = {kUse}};
  testing::MemoryService service_;  // The database, the clocks and who administers.
  keys::IssuedKey key_;
  client::LeaseCache cache_{{}, service_.clock};

 public:
  keys::Replica a{service_, {.replica = "a"}};
  keys::Replica b{service_, {.replica = "b"}};

 private:
  std::optional<keys::WatchSession> session_;  // With b.
  uint64_t stream_ = 0;
  uint64_t seq_ = 0;
  core::BootTime pinged_at_;
};

// Server b commits a revocation on the new primary before its follower has read there; its client acknowledges it, and
// asks a, in whose history another row has that number.
bool CommitsBeforeItsFollowerHasRead(bool narrows_the_role) {
  Installation it(kUse);
  it.PutRole("unused", kOther);
  EXPECT_TRUE(it.a.follower.Renew().ok());
  it.FailOver();
  const storage::Committed own = narrows_the_role ? it.PutRole(kRole, kOther) : it.DeleteKey();
  it.b.follower.Deliver(own);
  it.Listen();
  it.Ping();
  it.Ask(it.a);
  it.Live(7);
  return it.Accepts();
}
bool DeletesBeforeItsFollowerHasRead() { return CommitsBeforeItsFollowerHasRead(false); }
bool NarrowsBeforeItsFollowerHasRead() { return CommitsBeforeItsFollowerHasRead(true); }

// What only a has heard of gives the key a permission, and is lost. Where b has not read anything new since, the client
// resumes at a revision that is in both histories.
bool LosesAWidening(bool others_commit_first) {
  Installation it(kOther);
  it.PutRole(kRole, kUse);
  EXPECT_TRUE(it.a.follower.Renew().ok());
  it.Ask(it.a);
  EXPECT_TRUE(it.Accepts()) << "nothing is lost yet";
  it.FailOver();
  if (others_commit_first) it.PutRole("unused", kOther);
  it.Live(7);
  return it.Accepts();
}
bool LosesAWideningAndNothingFollows() { return LosesAWidening(false); }
bool LosesAWideningAndMoreFollows() { return LosesAWidening(true); }

// The client has heard of the failover by b's Hello; a has not.
bool AsksAServerOfTheLostHistory(bool tells_history) {
  Installation it(kUse);
  it.PutRole("unused", kOther);
  EXPECT_TRUE(it.a.follower.Renew().ok());
  it.FailOver();
  it.DeleteKey();
  EXPECT_TRUE(it.b.follower.Renew().ok());
  it.Listen();
  it.Ping();
  it.Ask(it.a, tells_history);
  it.Live(7);
  return it.Accepts();
}
bool AsksAServerOfTheLostHistoryThatSaysSo() { return AsksAServerOfTheLostHistory(true); }
bool AsksAServerOfTheLostHistoryThatDoesNotSaySo() { return AsksAServerOfTheLostHistory(false); }

}  // namespace

const std::vector<FailoverSchedule>& FailoverSchedules() {
  static const auto* const schedules = new std::vector<FailoverSchedule>{
      {"a key is deleted before the deleting server's follower has read",
       {Mutant::kServerDeliversAcrossAFailover},
       DeletesBeforeItsFollowerHasRead},
      {"a role is narrowed before the narrowing server's follower has read",
       {Mutant::kServerDeliversAcrossAFailover},
       NarrowsBeforeItsFollowerHasRead},
      {"a widening is lost",
       {Mutant::kServerIgnoresAFailover, Mutant::kClientKeepsAcrossHistories, Mutant::kClientLentByAnotherHistory},
       LosesAWideningAndNothingFollows},
      {"a widening is lost, and other rows take its place",
       {Mutant::kServerResumesAcrossAFailover},
       LosesAWideningAndMoreFollows},
      {"a server that is still in the lost history is asked",
       {Mutant::kClientStoresOtherHistories},
       AsksAServerOfTheLostHistoryThatSaysSo},
      {"a server of release 0 that is still in the lost history is asked",
       {Mutant::kClientTrustsOtherServersAtOnce},
       AsksAServerOfTheLostHistoryThatDoesNotSaySo},
  };
  return *schedules;
}

}  // namespace latchkey::simulation
