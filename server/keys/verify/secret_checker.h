#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "client/core/key_format.h"
#include "server/base/clock.h"
#include "server/keys/crypto/hash_pool.h"
#include "server/keys/crypto/key_ring_handle.h"
#include "server/keys/replication/key_index.h"
#include "server/model/key_store.h"
#include "server/model/records.h"

namespace latchkey::keys {

// Proves key strings whose secret this server has not seen yet: one SELECT of the stored hashes and proofs, and Argon2
// only if no stored proof decides. What it finds it puts into the index (a proof) or into its bounded memory of wrong
// strings (a negative answer), and then memory decides: proving never allows anything by itself.
//
// Single-flight: strings are told apart by their proof under the active generation, which covers the whole key string,
// never by kid; however many ask about one string, it is hashed once. Thread-safe.
class SecretChecker {
 public:
  struct Options {
    // Threads that wait for the database or for a hash, at least as many as the hash pool has; the slow priority has
    // one more, of its own. Each may hold one database connection.
    int workers = 4;
    // Flights of a priority that wait for one of them at most; beyond it WORKERS_BUSY.
    size_t queue = 1'024;
    // The longest wait for a hash that is predicted and still accepted; also no longer than the caller's time.
    absl::Duration patience = absl::Milliseconds(250);
    // Negative answers: how many, and for how long. A wrong string never becomes right, but an import or a restore may
    // bring its key.
    size_t negatives = 65'536;
    absl::Duration negative_ttl = absl::Seconds(10);
    // The slow priority's buckets, per kid and per peer: failures that are forgiven at this rate, up to the burst. They
    // act in the slow priority only, so nobody can lock a valid key out.
    double failures_per_second = 1;
    int failure_burst = 10;
    // Store proofs in the database (--proofs=shared), so that restarts and other servers start warm.
    bool shared = true;
    // Proofs that wait for FlushProofs at most, for when the database stays away; beyond it the oldest are dropped. A
    // dropped one costs one Argon2 on another server.
    size_t waiting_proofs = 100'000;
  };
  // Who wants to know.
  struct Asker {
    std::string address;  // Without a port; "" = none.
    std::string share;    // On whose behalf the work is done: places and turns are shared out by it (base::FairQueue).
  };
  // What one proof costs, for metrics.
  struct Counters {
    int64_t started = 0;      // Checks begun.
    int64_t joined = 0;       // Callers that shared one.
    int64_t by_database = 0;  // Decided by a stored proof, without Argon2.
    int64_t by_hash = 0;      // Decided by Argon2.
    int64_t wrong = 0;        // Found to be wrong, by either.
  };

  SecretChecker(storage::KeyStore& store, KeyIndex& index, const KeyRingHandle& ring, HashPool& hashes,
                const base::Clock& clock, Options options);
  // Waits for the checks that have begun; those that have not are told SHUTTING_DOWN.
  ~SecretChecker();
  SecretChecker(const SecretChecker&) = delete;
  SecretChecker& operator=(const SecretChecker&) = delete;

  // True if the string was found wrong a short while ago. `name`: its proof under the active generation. Waits for no
  // flight; called on the path of every unproven string.
  bool IsKnownInvalid(const Proof& name) const;

  // Proves `parts`. Never blocks. `done` is called exactly once, at once or on a worker: OK = ask memory again, which
  // now has a proof or a negative answer (but for a version that the index has not heard of yet: then it still can't
  // decide); else why nothing could be found out: HASH_POOL_FULL (with the predicted wait), TOO_MANY_FAILURES,
  // WORKERS_BUSY, DATABASE_UNAVAILABLE, KEY_RING_LACKS_ID, DEADLINE_EXCEEDED, SHUTTING_DOWN. Keeps no reference to
  // `parts`. `time_left`: the caller's deadline; an asker whose time is over while it waits is told so, the check goes
  // on for the others. In the slow priority the kid's and the address's buckets are asked first, and a string that is
  // wrong takes a token from both; the first priority knows no buckets.
  void Prove(const core::KeyParts& parts, HashPool::Priority priority, absl::Duration time_left, const Asker& asker,
             std::function<void(absl::Status)> done);

  // A proof under the active generation, found without proving (the string matched an older generation's): into the
  // index at once, and into the database with the next flush if proofs are shared. `view`: the generation of the
  // reading that matched; of another view than the present one it is dropped, as in another history the version may
  // have another secret. Never blocks on the database.
  void Store(const KeyProof& proof, int64_t view);

  Counters counters() const;
  HashPool& hashes() { return hashes_; }
  // Writes the proofs that wait for it; blocks. What could not be written waits on. The composition root calls it each
  // second or so, and at the end.
  absl::Status FlushProofs();

 private:
  struct State;
  HashPool& hashes_;
  const std::unique_ptr<State> state_;
};

}  // namespace latchkey::keys
