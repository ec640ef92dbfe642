#pragma once

#include <condition_variable>
#include <cstddef>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "server/base/fair_queue.h"
#include "server/base/work_queue.h"

namespace latchkey::base {

// Thread pool that several classes of work share. Each class has reserved workers, which are never lent, a limit, and a
// queue of its own; besides those there are shared workers, for whichever class has more to do. So no class can hold up
// another, and idle workers are few. Within a class the queue is a FairQueue: no share can hold up another, and none
// has the last of a class's workers unless there is but one. Thread-safe.
class Executor {
 public:
  struct WorkClass {
    int reserved = 0;  // Workers that it always has.
    int limit = 1;     // Workers that it has at most; not below `reserved`.
    size_t queue = 0;  // Jobs that wait; beyond it they are refused, of the share that has most.
  };

  // A worker that is free takes from the first class that has a job it may run: the first class is the most urgent.
  Executor(const std::vector<WorkClass>& classes, int shared);
  ~Executor();  // Stops.
  Executor(const Executor&) = delete;
  Executor& operator=(const Executor&) = delete;

  // The queue of the class at `index` of those given.
  WorkQueue& queue(size_t index) { return *classes_[index]; }
  int threads() const { return static_cast<int>(threads_.size()); }

  // Refuses new work, finishes what is queued, joins. Idempotent.
  void Stop();

 private:
  struct Class final : WorkQueue {
    Class(Executor& its_executor, const WorkClass& its_options);
    void Run(const std::string& share, Job job) override { executor.Enqueue(*this, share, std::move(job)); }

    Executor& executor;
    const WorkClass options;
    FairQueue<Job> jobs;
    int running = 0;
  };

  void Enqueue(Class& to, const std::string& share, WorkQueue::Job job);
  // The class whose next job may run now; nullptr if there is none.
  Class* RunnableLocked();
  void Work();

  const int shared_;
  std::mutex mutex_;
  std::condition_variable ready_;
  std::vector<std::unique_ptr<Class>> classes_;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace latchkey::base
