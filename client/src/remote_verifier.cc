#include "client/src/remote_verifier.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "client/core/key_format.h"
#include "client/core/permissions.h"
#include "client/src/convert.h"

namespace latchkey::client {
namespace {

constexpr size_t kMaxRequiredPermissions = 32;

absl::Status CheckParams(const VerifyParams& params) {
  if (params.required_permissions.size() > kMaxRequiredPermissions) {
    return absl::InvalidArgumentError(absl::StrCat("required_permissions: at most ", kMaxRequiredPermissions));
  }
  for (size_t i = 0; i < params.required_permissions.size(); ++i) {
    if (!core::IsPermission(params.required_permissions[i])) {
      return absl::InvalidArgumentError(absl::StrCat("required_permissions[", i,
                                                     "]: a permission such as app.read, at most ",
                                                     core::kMaxPermissionLength, " bytes"));
    }
  }
  return absl::OkStatus();
}

// The answer that needs no server, if there is one. The caller's own mistakes come first: they must show on every key.
std::optional<Answer> AnswerOffline(std::string_view key_string, const VerifyParams& params) {
  const absl::Status checked = CheckParams(params);
  if (!checked.ok()) return Answer::Undecided(checked);
  if (!core::ParseKeyString(key_string)) return Answer::Decided(Decision::kMalformed, {});
  if (params.timeout <= absl::ZeroDuration()) return Answer::Undecided(absl::DeadlineExceededError("no time was left"));
  return std::nullopt;
}

}  // namespace

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
  if (std::optional<Answer> answer = AnswerOffline(key_string, params)) {
    done(*std::move(answer));
    return;
  }
  connection_->Verify(key_string, params, std::min(timeout_, params.timeout),
                      [done = std::move(done)](absl::Status status, const v1::VerifyResponse& response) {
                        done(status.ok() ? ToAnswer(response) : Answer::Undecided(std::move(status)));
                      });
}

bool RemoteVerifier::WaitUntilConnected(absl::Duration patience) { return connection_->WaitUntilConnected(patience); }

}  // namespace latchkey::client
