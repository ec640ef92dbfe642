#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "server/base/work_queue.h"

namespace latchkey::base {

// A fixed number of threads and a bounded queue, for work that may block on the database. Thread-safe.
class WorkerPool final : public WorkQueue {
 public:
  WorkerPool(int threads, size_t queue_limit);
  // Runs what is queued, then joins.
  ~WorkerPool() override;
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  [[nodiscard]] bool TryRun(std::function<void()>& job) override;
  // Refuses new work, finishes what is queued, joins. Idempotent.
  void Stop();

 private:
  void Work();

  const size_t queue_limit_;
  std::mutex mutex_;
  std::condition_variable ready_;
  std::deque<std::function<void()>> queue_;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace latchkey::base
