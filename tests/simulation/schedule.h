#pragma once

#include <cstdint>
#include <string>

namespace latchkey::simulation {

// What one schedule came to. "Late" = at or after (the commit of the revocation) + L·(1 + 4ρ); with grace d, + d for
// accepts in grace.
struct Outcome {
  int64_t accepts = 0;  // Of keys that were good or whose revocation was young, by servers and caches.
  int64_t cache_hits = 0;
  int64_t denials = 0;
  int64_t undecided = 0;
  int64_t lends = 0;         // Of time to a client, by a server.
  int64_t certainties = 0;   // Times that wait=ALL returned before its longest wait was over.
  int64_t late_accepts = 0;  // And leases that should not have been lent.
  double worst = -1e9;       // The longest time from a revocation to an accept, in seconds.
  std::string first_late;    // What was accepted late, for the failure's text.

  void Add(const Outcome& other);
};

// One random schedule: two servers, a database and a caching client over a bad network, with paused threads, drifting
// clocks, a lagging standby, forgotten replicas, rewritten history, and every kind of revocation. Deterministic in
// `seed`.
Outcome RunSchedule(uint64_t seed);

}  // namespace latchkey::simulation
