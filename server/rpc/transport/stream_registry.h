#pragma once

#include <cstddef>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/base/clock.h"
#include "server/rpc/transport/charge.h"
#include "server/rpc/transport/transport.h"

namespace latchkey::rpc {

// A stream that a registry looks after. Thread-safe.
class RegisteredStream : public StreamHandler {
 public:
  // Begins. `refused`: why it may not even begin; then it only ends with that.
  virtual void Begin(const absl::Status& refused) = 0;
  // The server is about to stop.
  virtual void Drain() = 0;
  // Called every now and then: ends what has lasted too long. `over`: a stream that has not ended by itself is ended.
  virtual void Sweep(base::BootTime now, bool over) = 0;
};

// The open streams of one method, and their limits. Thread-safe.
class StreamRegistry {
 public:
  // `limit`: streams of authenticated callers at a time, half of them by one key; beyond it WORKERS_BUSY.
  explicit StreamRegistry(size_t limit);
  StreamRegistry(const StreamRegistry&) = delete;
  StreamRegistry& operator=(const StreamRegistry&) = delete;

  // Holds `stream` until Close, and begins it.
  void Open(const std::shared_ptr<RegisteredStream>& stream);
  // A place among the streams of the key `kid`. WORKERS_BUSY if it holds as many as it may, or all are taken.
  absl::StatusOr<Charge> AcquirePlace(const std::string& kid);
  // The end of `stream`.
  void Close(const std::shared_ptr<RegisteredStream>& stream);

  // Refuses those that come from now on (SHUTTING_DOWN), and drains the open ones. Doesn't wait.
  void StartDraining();
  void Sweep(base::BootTime now, bool over);

 private:
  std::vector<std::shared_ptr<RegisteredStream>> All();

  AccountsByName places_;  // By kid.
  std::mutex mutex_;
  bool draining_ = false;
  absl::flat_hash_set<std::shared_ptr<RegisteredStream>> open_;
};

}  // namespace latchkey::rpc
