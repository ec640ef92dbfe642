#include "server/rpc/transport/stream_registry.h"

#include <algorithm>

#include "server/base/errors.h"

namespace latchkey::rpc {

StreamRegistry::StreamRegistry(size_t limit)
    : places_({std::max<size_t>(1, limit / 2), 0}, std::make_shared<Account>(Amount{limit, 0})) {}

void StreamRegistry::Open(const std::shared_ptr<RegisteredStream>& stream) {
  absl::Status refused;
  {
    const std::lock_guard lock(mutex_);
    if (draining_) refused = errors::ShuttingDown();
    open_.insert(stream);
  }
  stream->Begin(refused);
}

absl::StatusOr<Charge> StreamRegistry::AcquirePlace(const std::string& kid) {
  return Charge::Take(places_.Of(kid), {1, 0});
}

void StreamRegistry::Close(const std::shared_ptr<RegisteredStream>& stream) {
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
