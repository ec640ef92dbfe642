#include "client/src/offline_answer.h"

#include "absl/strings/str_cat.h"
#include "client/core/cidr.h"
#include "client/core/key_format.h"
#include "client/core/permissions.h"

namespace latchkey::client {
namespace {

constexpr size_t kMaxRequiredPermissions = 32;

}  // namespace

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
  if (!params.client_ip.empty() && !core::ParseIp(params.client_ip)) {
    return absl::InvalidArgumentError("client_ip: an IPv4 or IPv6 address without port or zone, or nothing");
  }
  return absl::OkStatus();
}

std::optional<Answer> AnswerOffline(const core::PresentedKey& key, const VerifyParams& params) {
  if (key.native() == nullptr) return Answer::Decided(Decision::kMalformed, {});
  if (params.timeout <= absl::ZeroDuration()) return Answer::Undecided(absl::DeadlineExceededError("no time was left"));
  return std::nullopt;
}

}  // namespace latchkey::client
