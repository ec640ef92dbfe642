#include "client/src/remote_verifier.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/synchronization/notification.h"
#include "client/src/convert.h"
#include "client/src/offline_answer.h"

namespace latchkey::client {

RemoteVerifier::RemoteVerifier(std::unique_ptr<Connection> connection, absl::Duration timeout)
    : connection_(std::move(connection)), timeout_(timeout) {}

Answer RemoteVerifier::Verify(std::string_view key_string, const VerifyParams& params) {
  Answer answer;
  absl::Notification answered;
  VerifyAsync(key_string, params, [&answer, &answered](Answer given) {
    answer = std::move(given);
    answered.Notify();
  });
  answered.WaitForNotification();
  return answer;
}

void RemoteVerifier::VerifyAsync(std::string_view key_string, const VerifyParams& params, Callback done) {
  if (absl::Status checked = CheckParams(params); !checked.ok()) return done(Answer::Undecided(std::move(checked)));
  if (std::optional<Answer> answer = AnswerOffline(key_string, params)) return done(*std::move(answer));
  if (params.stop.stop_requested()) {
    return done(Answer::Undecided(absl::CancelledError("the question was withdrawn")));
  }
  const core::BootTime asked_at = clock_.BootNow();  // Before it is written: an answer's time counts from here.
  connection_->Verify(
      key_string, params, std::min(timeout_, params.timeout), /*min_revision=*/"",
      [this, asked_at, done = std::move(done)](absl::Status status, const v1::VerifyResponse& response) {
        if (!status.ok()) return done(Answer::Undecided(std::move(status)));
        const absl::Duration lease = ToDuration(response.lease_remaining());
        const bool late = clock_.BootNow() - asked_at >= lease;
        if (response.decision() == v1::DECISION_ALLOWED && late) {
          return done(Answer::Undecided(
              absl::UnavailableError("the answer came after the time in which it could be believed")));
        }
        done(ToAnswer(response));
      });
}

bool RemoteVerifier::WaitUntilConnected(absl::Duration patience) { return connection_->WaitUntilConnected(patience); }

}  // namespace latchkey::client
