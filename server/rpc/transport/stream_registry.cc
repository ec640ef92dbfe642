#include "server/rpc/transport/stream_registry.h"

#include <algorithm>

#include "absl/time/time.h"
#include "server/base/errors.h"

namespace latchkey::rpc {
namespace {

constexpr absl::Duration kRetryAfter = absl::Seconds(1);

}  // namespace

StreamRegistry::StreamRegistry(size_t limit) : limit_(limit), places_(std::max<size_t>(1, limit / 2)) {}

void StreamRegistry::Open(const std::shared_ptr<RegisteredStream>& stream) {
  absl::Status refused;
  {
    const std::lock_guard lock(mutex_);
    if (draining_) {
      refused = errors::ShuttingDown();
    } else if (open_.size() >= limit_) {
      refused = errors::WorkersBusy(kRetryAfter);
    }
    open_.insert(stream);
  }
  stream->Begin(refused);
}

absl::Status StreamRegistry::AcquirePlace(const std::string& kid) {
  return places_.Acquire(kid) ? absl::OkStatus() : errors::WorkersBusy(kRetryAfter);
}

void StreamRegistry::Close(const std::shared_ptr<RegisteredStream>& stream, const std::string& kid) {
  if (!kid.empty()) places_.Release(kid);
  const std::lock_guard lock(mutex_);
  open_.erase(stream);
}

std::vector<std::shared_ptr<RegisteredStream>> StreamRegistry::All() {
  const std::lock_guard lock(mutex_);
  return {open_.begin(), open_.end()};
}

void StreamRegistry::StartDraining() {
  {
    const std::lock_guard lock(mutex_);
    draining_ = true;
  }
  for (const std::shared_ptr<RegisteredStream>& stream : All()) stream->Drain();
}

void StreamRegistry::Sweep(base::BootTime now, bool over) {
  for (const std::shared_ptr<RegisteredStream>& stream : All()) stream->Sweep(now, over);
}

}  // namespace latchkey::rpc
