#pragma once

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "tests/faults/caller.h"

namespace latchkey::faults {

// A seeded generator, printed by the test that uses it.
using Random = std::mt19937;
inline int Between(Random& random, int low, int high) { return std::uniform_int_distribution<int>(low, high)(random); }

// What a caller knows of a write.
enum class Known {
  kNothing,       // It was not tried.
  kAcknowledged,  // OK.
  kRefused,       // The server said that nothing was changed.
  kUnknown,       // No answer, or OUTCOME_UNKNOWN.
};

// One key of the load: created with a request id, maybe deleted.
struct Operation {
  size_t minter = 0;       // Which caller made it: request ids are per caller.
  std::string request_id;  // Also its display name.
  std::string name;
  std::string key_string;  // "" if its only copy was lost with the answer.
  Known created = Known::kNothing;
  Known deleted = Known::kNothing;
};

// Threads that create and delete keys, each in the name of an admin key of its own, each until its first call without
// an acknowledgement. The ledger of what was acknowledged is checked after every fault.
class Load {
 public:
  // `owner` makes the minters' keys. `seed` decides what each thread does.
  Load(const std::shared_ptr<grpc::Channel>& channel, const Caller& owner, int threads, unsigned seed);
  ~Load();

  // Starts the threads.
  void Start();
  // Blocks until `count` more calls have been acknowledged since Start. False if all threads have ended before that.
  bool WaitForAcknowledged(int count);
  // Tells the threads to end after their current call, and waits for that.
  void Stop();

  // Asks the servers about everything that was ever done: each acknowledged create is ALLOWED, each acknowledged delete
  // is REVOKED, what is unknown is one or the other. Then repeats what was not acknowledged until it is: a create leads
  // to one key, whether by the first call or the repeated one, and never to a second; what was refused had not
  // happened.
  void CheckAndSettle(const Caller& owner);

  struct Summary {
    int creates = 0;       // Acknowledged.
    int deletes = 0;       // Acknowledged.
    int unknown = 0;       // Without a clear answer.
    int had_happened = 0;  // Of them.
    int refused = 0;
  };
  const Summary& summary() const { return summary_; }

 private:
  void Run(size_t minter, unsigned seed);
  void SettleCreate(Operation& operation);
  void SettleDelete(const Caller& owner, Operation& operation);
  void CheckDecisions(const Caller& owner);

  std::vector<std::unique_ptr<Caller>> minters_;
  std::vector<std::thread> threads_;
  const unsigned seed_;
  int round_ = 0;
  std::atomic<bool> stop_ = false;
  std::mutex mutex_;
  std::condition_variable changed_;
  int acknowledged_ = 0;  // Since Start.
  int running_ = 0;
  std::vector<Operation> operations_;
  Summary summary_;
};

}  // namespace latchkey::faults
