#include "client/src/remote_verifier.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/synchronization/notification.h"
#include "client/src/convert.h"
#include "client/src/question.h"

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
  connection_->Verify(key_string, params, std::min(timeout_, params.timeout),
                      [done = std::move(done)](absl::Status status, const v1::VerifyResponse& response) {
                        done(status.ok() ? ToAnswer(response) : Answer::Undecided(std::move(status)));
                      });
}

bool RemoteVerifier::WaitUntilConnected(absl::Duration patience) { return connection_->WaitUntilConnected(patience); }

}  // namespace latchkey::client
