#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/base/clock.h"
#include "server/base/work_queue.h"
#include "server/keys/replication/log_follower.h"
#include "server/keys/verify/key_verifier.h"
#include "server/keys/verify/verify_query.h"

namespace latchkey::keys {

// Answers questions about keys: from memory at once, or after what has to be waited for first (a revision, the log's
// end, a proof), and then from memory again, from the start. Thread-safe.
class AsyncVerifier {
 public:
  using Answer = absl::StatusOr<Verdict>;
  using Done = std::function<void(const Answer&)>;

  // `waiting`: the threads on which min_revision and fresh wait. All outlive the async_verifier.
  AsyncVerifier(KeyVerifier& verifier, LogFollower& follower, base::WorkQueue& waiting, const base::Clock& clock)
      : verifier_(verifier), follower_(follower), waiting_(waiting), clock_(clock) {}

  // Never blocks. nullopt = it takes longer: VerifyAsync. `organization`: the asker's.
  std::optional<Answer> FromMemory(const VerifyQuery& query, std::string_view organization);

  // A query that memory could not answer.
  struct PendingItem {
    VerifyQuery query;  // What its views show lives until `done` was called.
    Done done;          // Called exactly once, here or on another thread.
  };
  // Never blocks. Errors beside the verifier's: REVISION_UNKNOWN, REVISION_NOT_REACHED,
  // WORKERS_BUSY, DEADLINE_EXCEEDED. What has not been answered `time_left` from now is answered so soon afterwards.
  void VerifyAsync(std::vector<PendingItem> open, VerifyAsker asker, absl::Duration time_left);

 private:
  struct PendingBatch;
  void Wait(const std::shared_ptr<PendingBatch>& batch, const std::vector<size_t>& which);
  void Resume(const std::shared_ptr<PendingBatch>& batch, size_t i);
  void Prove(const std::shared_ptr<PendingBatch>& batch, size_t i);
  std::optional<Answer> Ask(const VerifyQuery& query, std::string_view organization);

  KeyVerifier& verifier_;
  LogFollower& follower_;
  base::WorkQueue& waiting_;
  const base::Clock& clock_;
};

}  // namespace latchkey::keys
