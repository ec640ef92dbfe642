#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace latchkey {

// Counters and gauges of a Verifier since it was made, for a metrics page. Counters only rise. Each number is right by
// itself; together they are no snapshot.
struct VerifierStats {
  // --- Answers ---
  int64_t hits = 0;        // Answered from memory, allowed or denied.
  int64_t misses = 0;      // Had to ask a server, or wait for somebody else's question.
  int64_t coalesced = 0;   // Of the misses: waited for a question that was under way.
  int64_t grace_uses = 0;  // Answered from memory within the grace, because no server could decide. 0 if all is well.
  int64_t undecided = 0;   // Answers without a decision.

  // --- Calls ---
  int64_t batches = 0;      // Messages written on the verify stream.
  int64_t batched = 0;      // Questions in them.
  int64_t unary_calls = 0;  // Questions asked each in a call of its own.
  int64_t fallbacks = 0;    // Of them: the verify stream had been asked and did not answer.
  // Questions asked once more: after UNAVAILABLE or DEADLINE_EXCEEDED in a call of its own, after an answer that came
  // too late to be believed the way a new question goes.
  int64_t retries = 0;
  int64_t stream_breaks = 0;   // Verify streams that ended or were given up.
  int64_t watch_connects = 0;  // Watch streams that got as far as the server's Hello.
  int64_t watch_resumes = 0;   // Of them: what was remembered could be kept.
  int64_t watch_breaks = 0;    // Watch streams that ended, were given up, or could not be opened.
  int64_t drains = 0;          // Notices of servers about to stop.
  int64_t invalidations = 0;   // Messages that made something remembered invalid.
  int64_t uses_reported = 0;   // Uses that a server has taken note of.
  int64_t uses_dropped = 0;    // Uses that no server will ever hear of.

  // --- Memory ---
  int64_t entries = 0;           // Verified keys.
  int64_t negative_entries = 0;  // Denied strings.
  int64_t memory_bytes = 0;      // Of both and of the tables that count uses, about.
  int64_t evictions = 0;         // Entries that had to make room.

  // --- Lease ---
  bool watching = false;  // A Watch stream is open and has said Hello.
  // What is remembered may be believed for so long; 0 = not now, every question is a miss.
  absl::Duration lease_remaining = absl::ZeroDuration();
  // Since the Ping was sent whose Pong gave the present lease. InfiniteDuration before the first, and when a Watch
  // stream that could not resume has yet to give one: nothing is remembered then.
  absl::Duration lease_age = absl::InfiniteDuration();
  // How old what is answered from memory can be at most: max_staleness less lease_remaining, more once the lease is
  // over (grace). InfiniteDuration where lease_age is. An alarm belongs here: above max_staleness, something is wrong.
  absl::Duration staleness = absl::InfiniteDuration();
  absl::Duration max_staleness = absl::ZeroDuration();  // The servers' L; 0 = not told yet.
};

// Callbacks for rare events, for a log or an alarm. One at a time on a thread of the library's: must not block, and
// must not destroy the Verifier. Statuses never quote a key.
class VerifierObserver {
 public:
  virtual ~VerifierObserver() = default;
  // A Watch stream is up; `resumed`: what was remembered could be kept.
  virtual void OnWatchUp([[maybe_unused]] bool resumed) {}
  // A Watch stream is over, or could not be opened; it is tried again within 2 s. UNAUTHENTICATED and
  // PERMISSION_DENIED are about this service's own key: somebody must look at it.
  virtual void OnWatchDown([[maybe_unused]] const absl::Status& why) {}
  // The server that is watched stops soon; another stream is being opened.
  virtual void OnDrain() {}
  // What is remembered may not be believed any longer, and that it may again. Noticed within a second.
  virtual void OnLeaseLost() {}
  virtual void OnLeaseGained() {}
  // The first answer given within the grace since a lease was last held.
  virtual void OnGraceBegan() {}
};

}  // namespace latchkey
