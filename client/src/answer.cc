#include <utility>

#include "latchkey/verifier.h"

namespace latchkey {

std::string_view DecisionName(Decision decision) {
  switch (decision) {
    case Decision::kUnspecified:
      return "UNSPECIFIED";
    case Decision::kAllowed:
      return "ALLOWED";
    case Decision::kMalformed:
      return "MALFORMED";
    case Decision::kNotFound:
      return "NOT_FOUND";
    case Decision::kRevoked:
      return "REVOKED";
    case Decision::kDisabled:
      return "DISABLED";
    case Decision::kExpired:
      return "EXPIRED";
    case Decision::kPermissionDenied:
      return "PERMISSION_DENIED";
    case Decision::kClientNotAllowed:
      return "CLIENT_NOT_ALLOWED";
    case Decision::kRateLimited:
      return "RATE_LIMITED";
  }
  return "UNSPECIFIED";
}

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
