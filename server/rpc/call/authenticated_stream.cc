#include "server/rpc/call/authenticated_stream.h"

#include <utility>

#include "server/base/errors.h"
#include "server/rpc/call/status_conversion.h"

namespace latchkey::rpc {
namespace {

constexpr absl::Duration kCallerPatience = absl::Seconds(2);

}  // namespace

AuthenticatedStream::AuthenticatedStream(StreamCall& call, const Method& method, const CallDependencies& calls,
                                         StreamRegistry& registry, const base::Clock& clock, const Options& options)
    : call_(call),
      calls_(calls),
      registry_(registry),
      clock_(clock),
      options_(options),
      caller_(call, method, calls.authenticator) {}

void AuthenticatedStream::Begin(const absl::Status& refused) {
  {
    const std::lock_guard lock(mutex_);
    if (!refused.ok()) {
      EndLocked(refused, /*drop=*/true);
      MaybeFinishLocked();
    }
    if (end_.has_value()) return;
    EnterLocked(1);
  }
  caller_.Judge(kCallerPatience, shared_from_this(), [this](const absl::Status& known) {
    const absl::Status admitted = known.ok() ? AcquirePlace() : known;
    const std::lock_guard lock(mutex_);
    if (!admitted.ok()) EndLocked(admitted, /*drop=*/true);
    AllowReadLocked();
    LeaveLocked(/*took=*/true);
  });
}

absl::Status AuthenticatedStream::AcquirePlace() {
  absl::StatusOr<Charge> place = registry_.AcquirePlace(caller_.principal().kid);
  if (!place.ok()) return place.status();
  const std::lock_guard lock(mutex_);
  place_ = *std::move(place);
  return absl::OkStatus();
}

void AuthenticatedStream::OnMessage(std::string message) {
  {
    const std::lock_guard lock(mutex_);
    if (end_.has_value()) {
      MaybeFinishLocked();
      return;
    }
    NoteHeardLocked();
    EnterLocked(1);
    taking_ = true;
  }
  if (!Parse(message)) {
    const std::lock_guard lock(mutex_);
    EndLocked(absl::OkStatus(), /*drop=*/!options_.answers_after_half_close);
    LeaveLocked(/*took=*/true);
    return;
  }
  // The caller's key as it is now: it may have been revoked since the last message.
  caller_.Judge(kCallerPatience, shared_from_this(), [this](const absl::Status& known) {
    if (!Caller::IsRefusal(known)) {
      Take(known);
      return;
    }
    const std::lock_guard lock(mutex_);
    EndLocked(known, /*drop=*/true);
    LeaveLocked(/*took=*/true);
  });
}

void AuthenticatedStream::OnHalfClose() { End(absl::OkStatus(), /*drop=*/!options_.answers_after_half_close); }

void AuthenticatedStream::OnWritten() {
  const std::lock_guard lock(mutex_);
  writing_ = false;
  NoteWrittenLocked();
  PumpLocked();
  ReadLocked();
  MaybeFinishLocked();
}

void AuthenticatedStream::OnCancel() {
  const std::lock_guard lock(mutex_);
  writing_ = false;  // Nothing that was written arrives.
  EndLocked(absl::CancelledError("cancelled"), /*drop=*/true);
  MaybeFinishLocked();
}

void AuthenticatedStream::OnEnd() {
  const std::shared_ptr<AuthenticatedStream> self = shared_from_this();
  {
    const std::lock_guard lock(mutex_);
    ReleaseLocked();
  }
  registry_.Close(self);
}

void AuthenticatedStream::Drain() {
  const std::lock_guard lock(mutex_);
  if (finished_) return;
  DrainLocked();
  PumpLocked();
  MaybeFinishLocked();
}

void AuthenticatedStream::Sweep(base::BootTime now, bool over) {
  const std::lock_guard lock(mutex_);
  if (finished_) return;
  // A client that does not read would keep the write, and so the stream, for ever. Whoever is refused keeps it no
  // longer than to the next sweep.
  if (writing_ && (dropped_at_last_sweep_ || now - write_began_ > options_.longest_write)) {
    EndLocked(absl::CancelledError("the client does not read"), /*drop=*/true);
    call_.Cancel();
    return;
  }
  if (!drop_) SweepLocked(over);
  dropped_at_last_sweep_ = drop_;
  PumpLocked();
  MaybeFinishLocked();
}

void AuthenticatedStream::WriteLocked(std::string message) {
  writing_ = true;
  write_began_ = clock_.BootNow();
  call_.Write(std::move(message));
}

void AuthenticatedStream::ReadLocked() {
  if (!read_due_ || end_.has_value() || !MayReadLocked()) return;
  read_due_ = false;
  call_.Read();
}

void AuthenticatedStream::LeaveLocked(bool took) {
  --under_way_;
  if (took) taking_ = false;
  PumpLocked();
  ReadLocked();
  MaybeFinishLocked();
}

void AuthenticatedStream::End(const absl::Status& status, bool drop) {
  const std::lock_guard lock(mutex_);
  EndLocked(status, drop);
  PumpLocked();
  MaybeFinishLocked();
}

void AuthenticatedStream::EndLocked(const absl::Status& status, bool drop) {
  if (!end_.has_value() || (drop && !drop_)) end_ = status;
  if (!drop) return;
  drop_ = true;
  DropUnsentLocked();
}

void AuthenticatedStream::MaybeFinishLocked() {
  if (finished_ || !end_.has_value() || under_way_ > 0 || writing_ || (!drop_ && HasUnsentLocked())) return;
  finished_ = true;
  place_.Release();
  caller_.Log(*end_);
  if (calls_.observer) calls_.observer(caller_.method(), *end_, caller_.Elapsed());
  call_.Finish(RpcStatusOf(*end_, caller_.id()));
}

}  // namespace latchkey::rpc
