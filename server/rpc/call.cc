#include "server/rpc/call.h"

#include <cstdint>
#include <random>
#include <string_view>
#include <utility>

#include "client/core/base62.h"
#include "client/core/key_format.h"
#include "client/core/permissions.h"
#include "server/base/log.h"
#include "server/rpc/authenticate.h"
#include "server/rpc/status_conversion.h"

namespace latchkey::rpc {
namespace {

std::string NewCallId() {
  thread_local std::mt19937_64 random{(static_cast<uint64_t>(std::random_device{}()) << 32) ^ std::random_device{}()};
  return core::Base62(random(), 11);
}

std::string HintOf(std::string_view key_string) {
  const std::optional<core::KeyParts> parts = core::ParseKeyString(key_string);
  return parts.has_value() ? core::KeyHint(*parts) : "malformed";
}

}  // namespace

Call::Call(grpc::CallbackServerContext& context, const Method& method, SecurityLog& security_log)
    : context_(context),
      reactor_(context.DefaultReactor()),
      method_(method),
      security_log_(security_log),
      id_(NewCallId()),
      started_at_(std::chrono::steady_clock::now()),
      deadline_(context.deadline()) {
  if (deadline_ == std::chrono::system_clock::time_point::max()) {
    deadline_ = std::chrono::system_clock::now() + std::chrono::duration_cast<std::chrono::system_clock::duration>(
                                                       absl::ToChronoNanoseconds(kDefaultDeadline));
  }
}

Call::~Call() {
  // A job that was dropped must not leave its caller waiting.
  if (!completed_) Complete(errors::ShuttingDown());
}

absl::Duration Call::TimeLeft() const { return absl::FromChrono(deadline_ - std::chrono::system_clock::now()); }

absl::Status Call::StillWanted() const {
  if (context_.IsCancelled()) return absl::CancelledError("cancelled");
  if (TimeLeft() <= absl::ZeroDuration()) return errors::DeadlineExceeded();
  return absl::OkStatus();
}

std::optional<absl::Status> Call::AuthenticateFromMemory(keys::KeyVerifier& verifier) {
  const absl::StatusOr<std::string_view> bearer = BearerOf(context_.client_metadata());
  if (!bearer.ok()) return bearer.status();
  const std::optional<absl::StatusOr<keys::Verdict>> verdict = verifier.VerifyFromMemory({.key_string = *bearer});
  if (!verdict.has_value()) return std::nullopt;
  return Settle(*verdict);
}

absl::Status Call::AuthenticateUnproven(keys::KeyVerifier& verifier, const keys::HashPool::Ticket& ticket) {
  const absl::StatusOr<std::string_view> bearer = BearerOf(context_.client_metadata());
  if (!bearer.ok()) return bearer.status();
  return Settle(verifier.VerifyUnproven({.key_string = *bearer}, ticket));
}

absl::Status Call::Settle(const absl::StatusOr<keys::Verdict>& verdict) {
  absl::StatusOr<keys::Principal> principal = PrincipalOf(verdict, context_.peer());
  if (!principal.ok()) {
    if (verdict.ok()) denied_because_ = std::string(core::DecisionName(verdict->decision));
    return principal.status();
  }
  caller_ = *std::move(principal);
  if (!core::Covers(caller_.permissions, method_.permission)) return errors::PermissionMissing(method_.permission);
  return absl::OkStatus();
}

void Call::Complete(const absl::Status& status) {
  if (std::exchange(completed_, true)) {
    log::Error("a call was completed twice", {{"rpc", method_.name}, {"request_id", id_}});
    return;
  }
  Log(status);
  reactor_->Finish(GrpcStatusOf(status, id_));
}

void Call::Log(const absl::Status& status) const {
  const bool denied = absl::IsUnauthenticated(status) || absl::IsPermissionDenied(status);
  const bool hidden = IsHidden(status);
  const log::Level level = hidden ? log::Level::kWarning : method_.mutation ? log::Level::kInfo : log::Level::kDebug;
  if (!denied && !log::Enabled(level)) return;
  const absl::Duration took = absl::FromChrono(std::chrono::steady_clock::now() - started_at_);
  log::Fields fields = {{"rpc", method_.name},
                        {"request_id", id_},
                        {"peer", context_.peer()},
                        {"code", absl::StatusCodeToString(status.code())},
                        {"ms", absl::ToDoubleMilliseconds(took)}};
  if (!caller_.kid.empty()) fields.emplace_back("caller", caller_.name());
  if (const std::string reason = errors::ReasonOf(status); !reason.empty()) fields.emplace_back("reason", reason);
  if (hidden) fields.emplace_back("error", std::string(status.message()));
  if (denied) {
    if (!denied_because_.empty()) fields.emplace_back("because", denied_because_);
    const absl::StatusOr<std::string_view> bearer = BearerOf(context_.client_metadata());
    if (bearer.ok()) fields.emplace_back("key_hint", HintOf(*bearer));
    security_log_.Denied(std::move(fields));
    return;
  }
  log::Write(level, "call", fields);
}

}  // namespace latchkey::rpc
