#include <cstdio>
#include <limits>
#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "client/core/clock.h"
#include "client/core/resource_names.h"
#include "server/app/commands.h"
#include "server/app/database_url.h"
#include "server/app/exit_error.h"
#include "server/app/server.h"
#include "server/app/state_directory.h"
#include "server/base/log.h"
#include "server/keys/admin/next_settings.h"
#include "server/keys/admin/upgrade.h"
#include "server/model/change_codec.h"

namespace latchkey::app {
namespace {

int Fail(const absl::Status& status) { return Report({ExitCodeOf(status), std::string(status.message())}); }

absl::StatusOr<std::unique_ptr<storage::KeyStore>> OpenDatabase(const std::string& url_file, int connections) {
  const absl::StatusOr<std::string> url = ReadDatabaseUrl(url_file);
  if (!url.ok()) return url.status();
  if (const auto schema = CheckSchema(*url); !schema.ok()) return schema.status();
  return OpenStore(*url, connections);
}

// The row of that revision; nullopt if there is none.
absl::StatusOr<std::optional<keys::LogRow>> RowAt(storage::KeyStore& store, int64_t revision) {
  absl::StatusOr<storage::LogPage> page = store.ReadLog(revision, 2);
  if (!page.ok()) return page.status();
  if (page->rows.empty() || page->rows.front().rev != revision) return std::nullopt;
  return std::move(page->rows.front());
}

std::string Described(const keys::LogRow& row) {
  return absl::StrCat(app::Described(keys::LogPosition{row.rev, row.chain}), ", written at ",
                      absl::FormatTime(absl::RFC3339_sec, row.at, absl::UTCTimeZone()));
}

}  // namespace

int RunAcceptHistory(const AcceptHistoryOptions& options) {
  const auto store = OpenDatabase(options.database_url_file, 1);
  if (!store.ok()) return Fail(store.status());
  absl::StatusOr<StateDirectory> state = StateDirectory::Open(options.state_dir);
  if (!state.ok()) return Fail(state.status());

  // A damaged file is one of the reasons to be here.
  const absl::StatusOr<std::optional<keys::LogPosition>> followed = state->Read();
  std::string had = "nothing";
  bool same = false;
  if (!followed.ok()) {
    had = "a damaged position";
    std::printf("the server followed: unknown, %s is damaged\n", state->file().c_str());
  } else if (!followed->has_value()) {
    std::printf("the server followed: nothing yet, there is no %s\n", state->file().c_str());
  } else {
    had = app::Described(**followed);
    std::printf("the server followed: %s\n", had.c_str());
    const absl::StatusOr<std::optional<keys::LogRow>> row = RowAt(**store, (*followed)->rev);
    if (!row.ok()) return Fail(row.status());
    same = row->has_value() && (*row)->chain == (*followed)->chain;
    std::printf("there the database has: %s%s\n", row->has_value() ? Described(**row).c_str() : "no such revision",
                same ? " (the same)" : "");
  }
  const absl::StatusOr<storage::LogPage> log = (*store)->ReadLog(0, 2);
  if (!log.ok()) return Fail(log.status());
  const absl::StatusOr<std::optional<keys::LogRow>> head = RowAt(**store, log->head);
  if (!head.ok()) return Fail(head.status());
  if (!head->has_value()) return Report({kExitConfig, "the database's change log lacks the row at its head"});
  std::printf("the database ends at:   %s\n", Described(**head).c_str());

  const keys::LogPosition accepted{(*head)->rev, (*head)->chain};
  if (absl::Status kept = state->Save(accepted); !kept.ok()) return Fail(kept);
  log::Warning("history accepted", {{"state_dir", state->path()},
                                    {"was", had},
                                    {"is", app::Described(accepted)},
                                    {"same_history", same},
                                    {"server", ServerName()}});
  std::printf("%s\n", same ? "it was the same history; the server may start" : "accepted; the server may start");
  return kExitOk;
}

int RunSetBound(const SetBoundOptions& options) {
  // Two: `decide` reads on a session beside the one that holds the locks.
  const auto store = OpenDatabase(options.database_url_file, 2);
  if (!store.ok()) return Fail(store.status());
  const keys::Audit audit{"operator", "", "set-bound", "", ServerName()};
  keys::Settings old;
  // Who else sets the bound waits for this row, so what is read below it is the newest.
  storage::LockPlan plan;
  plan.organization = std::string(core::kSystemOrganization);
  plan.lock_organization = true;
  const auto decide = [&](const storage::LockedState& locked) -> absl::StatusOr<storage::Mutation> {
    const absl::StatusOr<keys::Settings> settings = (*store)->ReadSettings();
    if (!settings.ok()) return settings.status();
    old = *settings;
    storage::Mutation mutation;
    if (old.bound == absl::Seconds(options.seconds)) return mutation;
    keys::Change change;
    change.settings = keys::NextSettings(old, absl::Seconds(options.seconds), locked.now);
    change.body = keys::EncodeBody(change, audit);
    mutation.changes.push_back(std::move(change));
    return mutation;
  };
  const absl::StatusOr<storage::Committed> committed = (*store)->Commit(plan, decide);
  if (!committed.ok()) return Fail(committed.status());
  const int64_t was = absl::ToInt64Seconds(old.bound);
  if (committed->rows.empty()) {
    std::printf("the bound is %d s already\n", options.seconds);
    return kExitOk;
  }
  std::printf("the bound was %lld s and is %d s, revision %lld\n", static_cast<long long>(was), options.seconds,
              static_cast<long long>(committed->rows.back().rev));
  if (options.seconds < was) {
    std::printf("leases of %lld s are still out: until %s have passed, the old bound rules\n",
                static_cast<long long>(was), absl::FormatDuration(core::WithClockError(old.bound)).c_str());
  }
  return kExitOk;
}

int RunUpgradeFinish(const UpgradeFinishOptions& options) {
  // Two: replicas are read beside the session that commits.
  const auto store = OpenDatabase(options.database_url_file, 2);
  if (!store.ok()) return Fail(store.status());
  const base::SystemClock clock;
  keys::Upgrade upgrade({.store = **store,
                         .clock = clock,
                         .pause = [](absl::Duration pause) { absl::SleepFor(pause); },
                         .waiting =
                             [](absl::Duration duration) {
                               std::printf("watching servers of the version before for %s\n",
                                           absl::FormatDuration(absl::Trunc(duration, absl::Milliseconds(1))).c_str());
                               std::fflush(stdout);
                             }});
  const absl::StatusOr<keys::Upgrade::Result> result = upgrade.Finish(ServerName());
  if (!result.ok()) return Fail(result.status());
  for (const std::string& id : result->departed) std::printf("server %s is dead; it is forgotten\n", id.c_str());
  if (result->revision == 0) {
    std::printf("the installation is at feature level %d already\n", result->level);
  } else {
    log::Warning(
        "upgrade finished",
        {{"was", result->from}, {"level", result->level}, {"revision", result->revision}, {"server", ServerName()}});
    std::printf(
        "the installation was at feature level %d and is at %d, revision %lld; from here on no server of the version "
        "before can be started on this database\n",
        result->from, result->level, static_cast<long long>(result->revision));
  }
  std::fflush(stdout);
  // Also if the level was raised before: whatever came between, the next call goes on from here.
  const absl::StatusOr<std::string> url = ReadDatabaseUrl(options.database_url_file);
  if (!url.ok()) return Fail(url.status());
  if (absl::Status contracted = storage::ContractSchema(*url); !contracted.ok()) {
    return Fail(absl::Status(contracted.code(),
                             absl::StrCat("the level is raised, but the schema still has what only older servers used: "
                                          "run this again; ",
                                          std::string(contracted.message()))));
  }
  return kExitOk;
}

int RunReplicas(const ReplicasOptions& options) {
  const auto store = OpenDatabase(options.database_url_file, 1);
  if (!store.ok()) return Fail(store.status());
  const absl::StatusOr<std::vector<storage::Replica>> replicas = (*store)->ReadReplicas();
  if (!replicas.ok()) return Fail(replicas.status());
  std::printf("%-32s %12s %12s %12s %6s %s\n", "replica", "beat", "applied", "acknowledged", "levels", "doorbell");
  for (const storage::Replica& replica : *replicas) {
    // A server that was stopped while clients still held a lease from it says that it has applied everything.
    const bool left = replica.applied_revision == std::numeric_limits<int64_t>::max();
    std::printf("%-32s %12lld %12s %12lld %6s %s\n", replica.id.c_str(), static_cast<long long>(replica.beat),
                left ? "stopped" : absl::StrCat(replica.applied_revision).c_str(),
                static_cast<long long>(replica.acknowledged.oldest()),
                absl::StrCat(replica.oldest_level, "-", replica.newest_level).c_str(),
                replica.doorbell.empty() ? "-" : replica.doorbell.c_str());
  }
  return kExitOk;
}

}  // namespace latchkey::app
