#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/time/time.h"
#include "client/core/clock.h"
#include "client/core/decision.h"
#include "client/core/presented_key.h"
#include "client/core/revision_token.h"
#include "client/core/siphash.h"
#include "latchkey/verifier.h"

namespace latchkey::client {

// Client-side cache of verification results, valid only under a lease granted by the server. No gRPC, no threads of its
// own, no clock but the one it is given: the whole of the client's part in "revoked means revoked" is here.
//
// The lease. A Pong grants one: (the time its Ping was SENT) + remaining, which counts for no more than the bound that
// Hello told; nothing unsolicited grants any. While it lasts, what is remembered holds, because the server sends every
// change before the Pong that covers it. It outlives its stream: it says how old the server's knowledge can be, and
// that does not depend on the connection. Only a server that refuses the caller itself ends it early.
//
// The read order of every hit: the lease is loaded first, then the entry, then the params are judged, and the clock is
// read last and compared with the lease already loaded (one CLOCK_BOOTTIME read; no clock cached by another thread,
// none coarse). Everything that removes entries has done so before a later lease is stored.
//
// What is believed. An answer is overtaken, and asked for again, if its revision is below the floor (Hello's revision,
// raised when tombstones are forgotten and when everything is invalidated) or a newer tombstone covers it (key, role,
// organization). An answer of another history than the last Hello's (core::HistoryId) can't be compared with any of
// these: it is believed for its own lease_remaining.
//
// What is stored. An answer that is believed, is of no other history, and was asked for within the present stream. One
// that proves its history is remembered until something is heard against it. One that does not, because it or the Hello
// is a release 0 server's, may be of a history that has been rewritten, as long as a server of that can answer: asked
// within max_staleness·(1+4ρ) of a Hello, it lasts no longer than its own lease_remaining.
//
// What a Hello keeps. Everything, if the server resumed and its history is the last Hello's. Otherwise no entry; but
// tombstones and the floor stay in one history, so that what was heard is not forgotten where a server is behind.
//
// What is judged here. Of a good key the permissions, the address and the expiry. A denial becomes ALLOWED only if it
// was CLIENT_NOT_ALLOWED of an identity that has address blocks, and the question's address is in one of them: every
// other denial is given as it came.
//
// Expiry. A key is EXPIRED here once expires_in has passed since it was asked for. Where that is more than 10 minutes
// away, clocks may differ too much by then: the entry ends 2ρ·expires_in earlier and the server is asked again, which
// counts anew.
//
// Entries are found by a keyed digest (SipHash-2-4-128 under a random key of this process) of the 82 canonical
// characters after any label; they never hold the key string. A hit allocates nothing and takes no lock.
//
// Thread-safe.
class LeaseCache {
 public:
  struct Options {
    size_t capacity = 100'000;  // Verified keys; the least used are evicted.
    size_t negatives = 10'000;  // Denied strings, in a share of their own: garbage can't push keys out.
    absl::Duration negative_ttl = absl::Seconds(1);  // And never longer than the lease.
    absl::Duration grace = absl::ZeroDuration();     // GRACE{d}: 0 = FAIL_CLOSED; at most 10 min.
    size_t tombstones = 100'000;                     // Beyond it the oldest are forgotten and the floor rises.
  };
  LeaseCache(Options options, const core::Clock& clock);
  ~LeaseCache();

  // --- Hits ---
  struct Hit {
    core::Decision decision = core::Decision::kUnspecified;
    Identity identity;  // Empty where the verdict has none. May be kept for long, also after the cache has gone.
    bool in_grace = false;
  };
  // What is remembered of it, judged for `params` (permissions, client_ip, expiry). nullopt = ask the server.
  std::optional<Hit> Find(const core::PresentedKey& key, const VerifyParams& params);
  // When the servers could not decide: within `grace` of the last lease's end, a key that this process had verified.
  std::optional<Hit> FindInGrace(const core::PresentedKey& key, const VerifyParams& params);

  // --- Misses ---
  // A request to a server, made just before it is written: what it is about, and when. Several inserts may refer to
  // one.
  struct PendingRequest {
    core::Digest128 digest;
    std::array<char, 16> kid{};
    core::BootTime asked_at;
    uint64_t stream = 0;  // 0: an answer to it is not stored.
  };
  // `key` is well-formed; an answer about anything else is not stored.
  PendingRequest BeginRequest(const core::PresentedKey& key) const;
  // What a server answered to a request without permissions and address: with either it must not come here.
  struct ServerAnswer {
    core::Decision decision = core::Decision::kUnspecified;
    Identity identity;
    int64_t revision = 0;
    absl::Duration lease_remaining = absl::ZeroDuration();
    absl::Duration expires_in = absl::InfiniteDuration();
    core::HistoryId history = core::kNoHistory;  // That `revision` counts in.
  };
  // Stores it if it may be, and judges it for `params`. nullopt: the answer can't be believed (its lease has passed, or
  // it is overtaken): ask again.
  std::optional<Hit> Insert(const PendingRequest& request, const ServerAnswer& answer, const VerifyParams& params);
  // True if the answer is overtaken: Watch has told something newer of the key, its role or its organization, or the
  // answer is too old to tell whether it has. A server that is at Applied() knows more.
  bool IsOverriddenByWatch(const PendingRequest& request, const ServerAnswer& answer) const;

  // --- Watch: one stream at a time; what an older one says is ignored ---
  // Returns the stream's number. Nothing is stored between this and its Hello.
  uint64_t BeginStream();
  // What to resume from: the revision that everything remembered is complete up to; nullopt = from now. It trails
  // Applied() until the next message, because a revision may come in more than one Invalidate.
  std::optional<core::RevisionToken> ResumeFrom() const;
  // True: everything that was remembered is kept.
  bool Hello(uint64_t stream, const core::RevisionToken& from, bool resumed, absl::Duration max_staleness,
             core::HistoryId history = core::kNoHistory);
  struct Invalidation {
    core::RevisionToken revision;
    std::vector<std::string> key_ids;
    std::vector<std::string> organizations;
    std::vector<std::string> roles;  // Resource names.
    bool all = false;
  };
  void Invalidate(uint64_t stream, const Invalidation& what);
  // False: it is of another history than the stream's Hello, and is ignored; the stream must be ended.
  bool Pong(uint64_t stream, core::BootTime ping_sent_at, const core::RevisionToken& revision, absl::Duration remaining,
            core::HistoryId history = core::kNoHistory);
  // What has been applied, for the next Ping's acknowledged_revision.
  core::RevisionToken Applied() const;
  void EndStream(uint64_t stream);
  // The server refuses the caller of the present stream. It will tell it of no change any more, so the lease ends now,
  // and grace with it; what is remembered waits for a stream that resumes.
  void RefuseCaller(uint64_t stream);

  // --- For metrics ---
  core::BootTime lease_until() const;
  size_t size() const;
  size_t negative_count() const;
  size_t memory_bytes() const;
  int64_t evictions() const;

 private:
  struct State;
  const std::unique_ptr<State> state_;
};

}  // namespace latchkey::client
