#pragma once

#include <functional>

namespace latchkey::base {

// Where work that may block is handed over. Thread-safe.
class WorkQueue {
 public:
  virtual ~WorkQueue() = default;
  // False, and `job` untouched, if the queue is full or stopping: the caller refuses the call.
  [[nodiscard]] virtual bool TryRun(std::function<void()>& job) = 0;
};

}  // namespace latchkey::base
