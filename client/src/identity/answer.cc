#include <utility>

#include "client/core/decision.h"
#include "latchkey/verifier.h"

namespace latchkey {

std::string_view DecisionName(Decision decision) { return core::DecisionName(static_cast<core::Decision>(decision)); }

Answer Answer::Decided(Decision decision, Identity identity) {
  return Answer(decision == Decision::kAllowed ? Outcome::kAllowed : Outcome::kDenied, decision, std::move(identity));
}

Answer Answer::Undecided(absl::Status error) {
  Answer answer;
  if (!error.ok()) answer.error_ = std::move(error);
  return answer;
}

}  // namespace latchkey
