#include "tests/simulation/judge.h"

#include "absl/strings/str_cat.h"
#include "client/core/clock.h"

namespace latchkey::simulation {

void Judge::Late(const std::string& what) {
  ++outcome.late_accepts;
  if (outcome.first_late.empty()) outcome.first_late = absl::StrCat(what, ", at ", world_.now(), " s");
}

void Judge::Accept(const SimulatedKey& key, const char* who, double began, double grace) {
  ++outcome.accepts;
  // In grace a cache believes what it had, whoever waited for it.
  if (grace == 0 && key.certain_at && began > *key.certain_at) {
    Late(absl::StrCat(who, " accepted ", key.role, " key ", world_.now() - *key.certain_at, " s after wait=ALL"));
    return;
  }
  if (!key.dead_at) return;
  const double age = world_.now() - *key.dead_at;
  outcome.worst = std::max(outcome.worst, age - grace - (longest_bound_ - kBound));
  if (age < (Bound() + grace) * (1 + 4 * core::kClockRateError)) return;
  Late(absl::StrCat(who, " accepted ", key.role, " key ", age, " s after it was revoked"));
}

void Judge::Lend(const SimulatedKey& caller, double judged_at, absl::Duration remaining, absl::Duration told) {
  if (remaining <= absl::ZeroDuration()) return;
  ++outcome.lends;
  if (remaining > told) Late("a lease was lent that is longer than the bound that Hello told");
  if (!caller.dead_at) return;
  const double age = judged_at - *caller.dead_at;
  if (age < Bound() * (1 + 4 * core::kClockRateError)) return;
  Late(absl::StrCat("a lease was lent to a caller ", age, " s after its key was revoked"));
}

void Judge::NoteEndlessWait(double began) { Late(absl::StrCat("wait=ALL has not returned since ", began, " s")); }

}  // namespace latchkey::simulation
