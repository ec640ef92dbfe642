#include "server/keys/verify/decider.h"

#include <algorithm>
#include <utility>

#include "server/base/errors.h"
#include "server/base/guarded.h"

namespace latchkey::keys {
namespace {

constexpr absl::Duration kBusyRetryAfter = absl::Milliseconds(250);
// A reading of the log that takes longer will not come; a worker is not held, and a stop not held up, by whoever has
// all day.
constexpr absl::Duration kLongestWait = absl::Seconds(5);
// Far above any deadline that is meant, far below what the clock's arithmetic could not hold.
constexpr absl::Duration kLongestSearch = absl::Hours(1);

}  // namespace

// What the answers of one Look share.
struct Decider::Search {
  std::vector<Open> open;
  std::string organization;
  std::string address;
  base::BootTime deadline;
};

std::optional<Decider::Answer> Decider::Ask(const Question& question, std::string_view organization) {
  return base::Guarded([&]() -> std::optional<Answer> {
    return verifier_.VerifyFromMemory({.key_string = question.key_string,
                                       .required_permissions = &question.required_permissions,
                                       .client_ip = question.client_ip,
                                       .asker_organization = organization});
  });
}

std::optional<Decider::Answer> Decider::FromMemory(const Question& question, std::string_view organization) {
  if (question.fresh) return std::nullopt;
  if (question.min_revision.has_value()) {
    switch (follower_.StandingOf(*question.min_revision)) {
      case LogFollower::Standing::kApplied:
        break;
      case LogFollower::Standing::kUnknown:
        return errors::RevisionUnknown();
      case LogFollower::Standing::kAhead:
      case LogFollower::Standing::kOld:
        return std::nullopt;
    }
  }
  return Ask(question, organization);
}

void Decider::Look(std::vector<Open> open, std::string_view organization, std::string_view address,
                   absl::Duration time_left) {
  const auto search =
      std::make_shared<Search>(Search{std::move(open), std::string(organization), std::string(address),
                                      clock_.BootNow() + std::clamp(time_left, absl::ZeroDuration(), kLongestSearch)});
  std::vector<size_t> must_wait;
  for (size_t i = 0; i < search->open.size(); ++i) {
    const Question& question = search->open[i].question;
    if (question.fresh || question.min_revision.has_value()) {
      must_wait.push_back(i);
    } else {
      Prove(search, i);
    }
  }
  if (must_wait.empty()) return;
  std::function<void()> job = [this, search, must_wait] { Wait(search, must_wait); };
  if (waiting_.TryRun(job)) return;
  for (const size_t i : must_wait) search->open[i].done(errors::WorkersBusy(kBusyRetryAfter));
}

void Decider::Wait(const std::shared_ptr<Search>& search, const std::vector<size_t>& which) {
  const base::BootTime deadline = std::min(search->deadline, clock_.BootNow() + kLongestWait);
  std::optional<absl::Status> caught_up;  // Once for all of them.
  for (const size_t i : which) {
    const Question& question = search->open[i].question;
    const absl::Status waited = base::Guarded([&]() -> absl::Status {
      if (question.fresh) {
        if (!caught_up.has_value()) caught_up = follower_.CatchUp(deadline);
        if (!caught_up->ok()) return *caught_up;
      }
      return question.min_revision.has_value() ? follower_.Await(*question.min_revision, deadline) : absl::OkStatus();
    });
    if (waited.ok()) {
      Resume(search, i);
    } else {
      search->open[i].done(waited);
    }
  }
}

void Decider::Resume(const std::shared_ptr<Search>& search, size_t i) {
  const Open& open = search->open[i];
  if (const std::optional<Answer> answer = Ask(open.question, search->organization)) {
    open.done(*answer);
  } else {
    Prove(search, i);
  }
}

void Decider::Prove(const std::shared_ptr<Search>& search, size_t i) {
  const Question& question = search->open[i].question;
  verifier_.Prove(question.key_string, search->deadline - clock_.BootNow(), search->address,
                  [this, search, i](const absl::Status& proven) {
                    const Open& asked = search->open[i];
                    if (!proven.ok()) {
                      asked.done(proven);
                      return;
                    }
                    const std::optional<Answer> answer = Ask(asked.question, search->organization);
                    // Memory has forgotten again what was just found out: it was loaded anew meanwhile.
                    asked.done(answer.has_value() ? *answer : Answer(errors::LeaseExpired()));
                  });
}

}  // namespace latchkey::keys
