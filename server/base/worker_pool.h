#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace latchkey::base {

// A fixed number of threads and a bounded queue, for work that may block on the database. Thread-safe.
class WorkerPool {
 public:
  WorkerPool(int threads, size_t queue_limit);
  // Runs what is queued, then joins.
  ~WorkerPool();
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  // False, and `job` untouched, if the queue is full or the pool is stopping: the caller refuses the call.
  [[nodiscard]] bool TryRun(std::function<void()>& job);
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
