#include "server/rpc/call/caller.h"

#include <cstdint>
#include <random>
#include <string_view>
#include <utility>

#include "client/core/base62.h"
#include "client/core/key_format.h"
#include "client/core/permissions.h"
#include "server/base/errors.h"
#include "server/base/log.h"
#include "server/rpc/call/status_conversion.h"

namespace latchkey::rpc {
namespace {

constexpr char kMalformed[] = "malformed";

std::string NewCallId() {
  thread_local std::mt19937_64 random{(static_cast<uint64_t>(std::random_device{}()) << 32) ^ std::random_device{}()};
  return core::Base62(random(), 11);
}

std::string HintOf(std::string_view key_string) {
  const std::optional<core::KeyParts> parts = core::ParseKeyString(key_string);
  return parts.has_value() ? core::KeyHint(*parts) : kMalformed;
}

}  // namespace

Caller::Caller(CallContext& call, const Method& method, const Authenticator& authenticator)
    : call_(call),
      method_(method),
      authenticator_(authenticator),
      id_(NewCallId()),
      started_at_(std::chrono::steady_clock::now()) {}

std::optional<absl::Status> Caller::FromMemory(bool counted) {
  const std::optional<absl::StatusOr<keys::Verdict>> verdict = authenticator_.FromMemory(call_, counted);
  if (!verdict.has_value()) return std::nullopt;
  return AdmitIfAllowed(*verdict);
}

void Caller::Prove(absl::Duration time_left, std::function<void(absl::Status)> done) {
  authenticator_.Prove(call_, time_left, [this, done = std::move(done)](const absl::Status& proven) {
    if (!proven.ok()) {
      done(proven);
      return;
    }
    // Memory has forgotten again what was just found out: it was loaded anew meanwhile.
    done(FromMemory().value_or(errors::LeaseExpired()));
  });
}

absl::Status Caller::AdmitIfAllowed(const absl::StatusOr<keys::Verdict>& verdict) {
  absl::StatusOr<keys::Principal> principal = PrincipalOf(verdict, call_.peer().name);
  if (!principal.ok()) {
    if (verdict.ok()) denied_because_ = std::string(core::DecisionName(verdict->decision));
    return principal.status();
  }
  principal_ = *std::move(principal);
  call_.SetCaller(principal_.organization, principal_.kid);
  if (!core::Covers(principal_.permissions, method_.permission)) return errors::PermissionMissing(method_.permission);
  return absl::OkStatus();
}

void Caller::Log(const absl::Status& status) const {
  const bool denied = IsRefusal(status);
  const bool hidden = IsHidden(status);
  const log::Level level = hidden ? log::Level::kWarning : method_.mutation ? log::Level::kInfo : log::Level::kDebug;
  if (!denied && !log::Enabled(level)) return;
  log::Fields fields = {{"rpc", method_.name},
                        {"request_id", id_},
                        {"peer", call_.peer().name},
                        {"code", absl::StatusCodeToString(status.code())},
                        {"ms", absl::ToDoubleMilliseconds(Elapsed())}};
  if (!principal_.kid.empty()) fields.emplace_back("caller", principal_.name());
  if (const std::string_view reason = errors::NameOf(errors::ReasonOf(status)); !reason.empty()) {
    fields.emplace_back("reason", std::string(reason));
  }
  if (hidden) fields.emplace_back("error", std::string(status.message()));
  if (denied) {
    if (!denied_because_.empty()) fields.emplace_back("because", denied_because_);
    const absl::StatusOr<std::string_view> bearer = BearerOf(call_.Metadata("authorization"));
    std::string hint = bearer.ok() ? HintOf(*bearer) : "";
    if (!hint.empty()) fields.emplace_back("key_hint", hint);
    // What is malformed is nobody's key.
    if (hint == kMalformed) hint.clear();
    authenticator_.security_log().Denied(std::move(fields), address(), hint);
    return;
  }
  log::Write(level, "call", fields);
}

}  // namespace latchkey::rpc
