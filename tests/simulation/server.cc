#include "tests/simulation/server.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace latchkey::simulation {
namespace {

constexpr double kRateError = core::kClockRateError;

// Thrown through whoever still waits when a schedule is over: time stands still then.
struct ScheduleOver {};

// Never hashes: every key of a schedule has its proof stored.
keys::HashPool& NoHashes() {
  static auto* const clock = new core::SystemClock();
  static auto* const pool = new keys::HashPool({.workers = 1, .profile = keys::RandomKeyProfile()}, *clock);
  return *pool;
}

}  // namespace

Server::Server(World& world, storage::KeyStore& database, const keys::KeyRingHandle& ring, Judge& judge, int number,
               int page, keys::Doorbell& doorbell)
    : world_(world),
      judge_(judge),
      number_(number),
      clock_(world, 1 + world.Uniform(-kRateError, kRateError)),
      store_(database, world, absl::StrCat("db-s", number)),
      follower_(store_, index_, hub_, clock_,
                {.replica = absl::StrCat("s", number), .page = page, .catch_up_pause = absl::ZeroDuration()}),
      checker_(store_, index_, ring, NoHashes(), clock_, {.workers = 1}),
      verifier_(index_, ring, checker_, clock_),
      renewer_(follower_, index_, hub_, clock_,
               {.prepare = [] { return absl::OkStatus(); },
                .explain_refusal = [](const absl::Status& status) { return status; },
                .wake =
                    [this] {
                      world_.In(0, [this] { RenewIfDue(); });
                      world_.In(0, [this] { CatchUp(); });
                    }}),
      waiter_(store_, follower_, &doorbell, clock_,
              // It would look a hundred times as often, and see no more.
              [&world](absl::Duration pause) {
                world.Sleep(std::max(absl::ToDoubleSeconds(pause), 0.2));
                if (world.ending()) throw ScheduleOver();
              }) {}

template <typename Work>
void Server::WithFollower(const Work& work) {
  while (follower_is_busy_ && !world_.ending()) world_.Sleep(0.02);
  if (world_.ending()) return;
  follower_is_busy_ = true;
  work();
  follower_is_busy_ = false;
}

void Server::Run() {
  world_.In(world_.Uniform(0, 1), [this] { RenewIfDue(); });
  // As the maintenance of a server does: who has died is known before anybody waits for it.
  world_.In(world_.Uniform(0, 1), [this] {
    while (!world_.ending()) {
      waiter_.Observe().IgnoreError();
      world_.Sleep(1);
    }
  });
}

void Server::RenewIfDue() {
  if (std::exchange(renewing_, true)) {
    renew_again_ = true;
    return;
  }
  std::optional<base::BootTime> next;
  do {
    renew_again_ = false;
    WithFollower([&] { next = renewer_.RenewIfDue(); });
  } while (renew_again_ && !world_.ending());
  renewing_ = false;
  if (!next.has_value()) return;
  world_.In(clock_.SecondsUntil(*next), [this, timer = ++timer_] {
    if (timer == timer_) RenewIfDue();
  });
}

void Server::CatchUp() {
  // One loop drives it: who waits already comes for this ring, too.
  if (std::exchange(catching_up_, true)) return;
  WithFollower([this] {
    catching_up_ = false;
    renewer_.CatchUpIfRung();
  });
}

void Server::Deliver(const storage::Committed& committed) {
  WithFollower([&] { follower_.Deliver(committed); });
}

absl::StatusOr<keys::Verdict> Server::Verify(const SimulatedKey& key) {
  const double began = world_.now();
  const std::optional<absl::StatusOr<keys::Verdict>> verdict =
      verifier_.VerifyFromMemory({.key = key.text, .asker_organization = "system"});
  if (!verdict) return absl::UnavailableError("not proven");
  if (!verdict->ok()) return verdict->status();
  // A caller that keeps nothing lets it in now. Permissions are the query's, here as in the cache.
  const auto& identity = (*verdict)->identity;
  if ((*verdict)->decision == core::Decision::kAllowed && identity &&
      std::find(identity->permissions.begin(), identity->permissions.end(), "app.use") != identity->permissions.end()) {
    judge_.Accept(key, "a server", began);
  }
  return **verdict;
}

void Server::ProveNothing(double from, double until) {
  proves_nothing_from_ = from;
  proves_nothing_until_ = until;
}

absl::Status Server::JudgeCaller(const SimulatedKey& caller) {
  if (world_.now() >= proves_nothing_from_ && world_.now() < proves_nothing_until_) {
    return absl::UnavailableError("not proven");
  }
  const std::optional<absl::StatusOr<keys::Verdict>> verdict =
      verifier_.VerifyFromMemory({.key = caller.text, .asker_organization = "system"});
  if (!verdict) return absl::UnavailableError("not proven");
  if (!verdict->ok()) return verdict->status();
  return (*verdict)->decision == core::Decision::kAllowed ? absl::OkStatus() : absl::UnauthenticatedError("refused");
}

absl::Status Server::AwaitAll(const keys::RevokingChange& change) {
  const base::BootTime now = clock_.BootNow();
  try {
    return waiter_.Await(change, keys::RevocationWait::kAll, now, now + absl::Seconds(60));
  } catch (const ScheduleOver&) {
    return absl::DeadlineExceededError("the schedule is over");
  }
}

}  // namespace latchkey::simulation
