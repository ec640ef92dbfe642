#include "server/rpc/transport/call_charge.h"

#include <utility>

#include "server/base/errors.h"

namespace latchkey::rpc {
namespace {

constexpr size_t kUnlimited = ~size_t{0} / 2;

}  // namespace

Admission::Admission(const Limits& limits)
    : limits_(limits),
      connections_(limits.connections),
      organizations_({kUnlimited, limits.organization_unsent_bytes},
                     std::make_shared<Account>(Amount{kUnlimited, limits.process_unsent_bytes})) {}

std::shared_ptr<Account> Admission::UnsentOf(const std::string& organization, const std::string& kid) {
  std::shared_ptr<AccountsByName> callers;
  {
    const std::lock_guard lock(mutex_);
    std::shared_ptr<AccountsByName>& known = callers_[organization];
    if (known == nullptr) {
      known = std::make_shared<AccountsByName>(Amount{kUnlimited, limits_.caller_unsent_bytes},
                                               organizations_.Of(organization));
    }
    callers = known;
  }
  return callers->Of(kid);
}

absl::Status CallCharge::Begin(size_t places) {
  if (connection_->is_shut()) return errors::WorkersBusy(kFullRetryAfter);
  absl::StatusOr<Charge> call = Charge::Take(connection_->calls(), {1, 0});
  if (!call.ok()) {
    // gRPC 1.51.1 holds a peer to MAX_CONCURRENT_STREAMS only once it has acknowledged the SETTINGS.
    if (connection_->descriptor() >= 0) connection_->Shut();
    return call.status();
  }
  call_ = *std::move(call);
  absl::StatusOr<Charge> anonymous = admission_.connections().Take(class_, connection_, {places, kCallBytes});
  if (anonymous.ok()) {
    anonymous_ = *std::move(anonymous);
    return absl::OkStatus();
  }
  const absl::Status busy = anonymous.status();
  anonymous = Charge::Take(connection_->account(class_), {0, kCallBytes});
  if (anonymous.ok()) anonymous_ = *std::move(anonymous);
  return busy;
}

void CallCharge::SetCaller(const std::string& organization, const std::string& kid) {
  if (caller_ != nullptr) return;
  caller_ = admission_.UnsentOf(organization, kid);
  connection_->NoteProven();
  anonymous_.Release();
}

absl::Status CallCharge::AddUnsent(size_t bytes) {
  absl::StatusOr<Charge> taken = caller_ != nullptr ? Charge::Take(caller_, {0, bytes})
                                                    : admission_.connections().Take(class_, connection_, {0, bytes});
  if (!taken.ok()) return taken.status();
  unsent_.Add(*std::move(taken));
  return absl::OkStatus();
}

CallCharge::Answer CallCharge::Finish(size_t bytes) {
  if (connection_->is_shut()) return Answer::kReset;
  anonymous_.GiveBack({anonymous_.held().places, 0});
  // Until now a call of a known caller was not charged for itself: there may be as many as there are connections for.
  const size_t call = anonymous_.held().bytes > 0 ? 0 : kCallBytes;
  if (AddUnsent(call + bytes).ok()) return Answer::kSend;
  if (bytes > 0 && (call == 0 || AddUnsent(call).ok())) return Answer::kBusy;
  return Answer::kReset;
}

}  // namespace latchkey::rpc
