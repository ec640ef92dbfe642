#include <utility>

#include "client/core/decision.h"
#include "latchkey/verifier.h"

namespace latchkey {

std::string_view DecisionName(Decision decision) { return core::DecisionName(static_cast<core::Decision>(decision)); }

Answer Answer::Decided(Decision decision, Identity identity) {
  Answer answer;
  answer.outcome_ = decision == Decision::kAllowed ? Outcome::kAllowed : Outcome::kDenied;
  answer.decision_ = decision;
  answer.identity_ = std::move(identity);
  answer.error_ = absl::OkStatus();
  return answer;
}

Answer Answer::Undecided(absl::Status error) {
  Answer answer;
  if (!error.ok()) answer.error_ = std::move(error);
  return answer;
}

}  // namespace latchkey
