#pragma once

#include <functional>
#include <map>
#include <memory>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "latchkey/metrics.h"

namespace latchkey {

// Reason of a verdict. Numbers are those of latchkey.v1.Decision; anything but kAllowed means deny, also a number not
// listed here.
enum class Decision {
  kUnspecified = 0,
  kAllowed = 1,
  kMalformed = 2,  // Not a key string.
  kNotFound = 3,   // No such key, or the wrong secret: never told apart.
  kRevoked = 4,    // Deleted, or of a deleted organization.
  kDisabled = 5,
  kExpired = 6,
  kPermissionDenied = 7,  // Lacks a required permission.
  kClientNotAllowed = 8,
  kRateLimited = 9,
};

// "ALLOWED", "NOT_FOUND", ...; "UNSPECIFIED" for a number this build does not know.
std::string_view DecisionName(Decision decision);

namespace client {
struct IdentityBlock;
struct HazardSlot;
class IdentityRefs;
}  // namespace client

// Identity of a key, set only if its secret was right. A handle to something immutable that its copies share: pass it
// by value, keep it as long as you like. Views that it returns live as long as it or a copy of it. Thread-safe as a
// const object.
class Identity {
 public:
  // What one is made of: for tests and fakes. Nothing is checked. Of each text 64 KiB are kept, and of the labels as
  // many as fit in 64 KiB together.
  struct Fields {
    std::string organization;
    std::string key_id;  // Any text; a server's has 16 base62 characters.
    std::string display_name;
    std::string role;
    std::vector<std::string> permissions;  // "a.*" covers "a.b" and "a.b.c", "*" covers all.
    std::string owner;
    std::map<std::string, std::string> labels;
    absl::Time expires_at = absl::InfiniteFuture();
    int secret_version = 0;
    // "10.0.0.0/8", "2001:db8::1". One that can't be read, or has bits set below its prefix ("10.0.0.1/8"), allows
    // nobody. Empty = anywhere.
    std::vector<std::string> allowed_cidrs;
  };

  // Nobody's.
  Identity() = default;
  explicit Identity(const Fields& fields);
  Identity(const Identity& other);
  Identity(Identity&& other) noexcept
      : block_(std::exchange(other.block_, nullptr)), slot_(std::exchange(other.slot_, nullptr)) {}
  Identity& operator=(Identity other) noexcept {
    std::swap(block_, other.block_);
    std::swap(slot_, other.slot_);
    return *this;
  }
  ~Identity() {
    if (block_ != nullptr) Release();
  }

  // True if nothing is known of the key; everything else is then empty.
  bool empty() const { return block_ == nullptr; }

  std::string name() const;  // organizations/{organization}/keys/{key id}.
  std::string_view key_id() const;
  const std::string& organization() const;
  std::string_view display_name() const;
  const std::string& role() const;
  const std::vector<std::string>& permissions() const;
  std::string_view owner() const;
  std::map<std::string, std::string> labels() const;
  absl::Time expires_at() const;  // InfiniteFuture = never. To the microsecond.
  int secret_version() const;
  // Where it may be used from; empty = anywhere. Canonical blocks, then, as given, what can't be read (allows nobody).
  std::vector<std::string> allowed_cidrs() const;

 private:
  friend class client::IdentityRefs;
  // Takes over one reference: `slot`, or a counted one if that is nullptr.
  Identity(const client::IdentityBlock* block, client::HazardSlot* slot) : block_(block), slot_(slot) {}
  void Release() noexcept;

  const client::IdentityBlock* block_ = nullptr;
  client::HazardSlot* slot_ = nullptr;
};

// Result of a verification: allowed, denied (with a reason), or undecided (with an error). A default one is undecided,
// so forgetting to fill it in never allows.
class Answer {
 public:
  enum class Outcome { kUndecided, kAllowed, kDenied };

  Answer() : error_(absl::UnknownError("no answer")) {}
  static Answer Decided(Decision decision, Identity identity);
  static Answer Undecided(absl::Status error);

  Outcome outcome() const { return outcome_; }
  bool allowed() const { return outcome_ == Outcome::kAllowed; }
  bool denied() const { return outcome_ == Outcome::kDenied; }
  // Could not decide: neither let the caller in nor tell it that its key is bad; HTTP services answer 503.
  bool undecided() const { return outcome_ == Outcome::kUndecided; }

  Decision decision() const { return decision_; }
  const Identity& identity() const { return identity_; }
  // Why it is undecided; OK otherwise.
  const absl::Status& error() const { return error_; }

 private:
  Answer(Outcome outcome, Decision decision, Identity identity)
      : outcome_(outcome), decision_(decision), identity_(std::move(identity)) {}

  Outcome outcome_ = Outcome::kUndecided;
  Decision decision_ = Decision::kUnspecified;
  Identity identity_;
  absl::Status error_;
};

// Options of Verifier::Connect: how to reach the service, and what to cache.
struct VerifierOptions {
  // A gRPC target: "127.0.0.1:50051", "dns:///latchkey.internal:50051", "unix:/run/latchkey.sock". Several addresses,
  // of a DNS name or "ipv4:10.0.0.1:50051,10.0.0.2:50051", are used in turn. Required.
  std::string server;
  // A file with the caller's own key string (a key that holds latchkey.verify) and nothing else but one line end;
  // not readable by group or others. Read once, by Connect: after it has changed, make a new Verifier. Required.
  std::string key_file;
  // How long one Verify may take in all. 1 ms .. 60 s.
  absl::Duration timeout = absl::Seconds(2);

  // Remember what was verified. A revoked key is refused at the latest L·1.004 after its revocation was committed (the
  // servers' bound, 5 s unless they are told otherwise), and milliseconds later as a rule. False: every question is a
  // call, and the options below have no effect.
  bool cache = true;
  // Verified keys remembered at most; the least used make room. 1 .. 10,000,000; about 160 B each, and the identities.
  size_t cache_entries = 100'000;
  // Denied strings remembered at most, each for a second. 0 .. 1,000,000.
  size_t negative_entries = 10'000;
  // What to answer when no server can decide and the lease is over.
  enum class OnUnavailable {
    kFailClosed,  // Undecided.
    kGrace,  // A key that this process has verified, and has heard nothing against, is believed for `grace` longer.
  };
  OnUnavailable on_unavailable = OnUnavailable::kFailClosed;
  // With kGrace: a revocation may then take up to L + `grace` to be heard of. > 0 and at most 10 min; leave it at 0
  // otherwise.
  absl::Duration grace = absl::ZeroDuration();
  // Tell the servers each 10 s how often which key was used, so that last_used_time and the counts are right. What was
  // counted since the last report is lost if the process dies; destroying the Verifier reports it, for 1 s at most.
  bool report_usage = true;
  // Told of rare events; see there. Default: nobody. Numbers are in Verifier::Stats.
  std::shared_ptr<VerifierObserver> observer = nullptr;
};

// Parameters of one verification beside the key.
struct VerifyParams {
  // All must be covered by the key's role; at most 32, each at most 128 bytes.
  std::vector<std::string> required_permissions = {};
  // The address that the key was presented from, IPv4 or IPv6 text without port; "" = not known. A key with
  // allowed_cidrs is denied without it. A view: it must live as long as the call (VerifyAsync copies it).
  std::string_view client_ip = {};
  // Shorter than VerifierOptions::timeout for this call; longer has no effect, nor has it on what is remembered.
  absl::Duration timeout = absl::InfiniteDuration();
  // Withdraws the question, such as when the one who asked has hung up: once a stop is requested the answer is
  // undecided with CANCELLED, unless it is there already. Others who ask about the same key get theirs. Requesting the
  // stop may run the callback of VerifyAsync. Default: never.
  std::stop_token stop = {};
};

// Client of a Latchkey service that verifies key strings: from its cache if it may, otherwise by a call. Make one for
// the process and share it: thread-safe, and it keeps its connections.
//
//   absl::StatusOr<std::unique_ptr<latchkey::Verifier>> verifier =
//       latchkey::Verifier::Connect({.server = "127.0.0.1:50051", .key_file = "/etc/myapp/verifier.key"});
//   const latchkey::Answer answer = (*verifier)->Verify(bearer_token, {.required_permissions = {"app.read"}});
//   if (answer.undecided()) return 503;
//   if (!answer.allowed()) return 401;
//
// A string that is not a key string at all (wrong length, alphabet or checksum) is denied as kMalformed on the spot,
// without a call.
class Verifier {
 public:
  using Callback = std::function<void(Answer)>;

  // Reads the key file and prepares the channel; does not wait for the server. INVALID_ARGUMENT naming the option that
  // is wrong; NOT_FOUND or PERMISSION_DENIED for the key file.
  static absl::StatusOr<std::unique_ptr<Verifier>> Connect(const VerifierOptions& options);

  virtual ~Verifier() = default;

  // Blocks at most the timeout.
  virtual Answer Verify(std::string_view key_string, const VerifyParams& params = {}) = 0;
  // Never blocks. `done` is called exactly once, maybe before this returns, otherwise on a thread of the library's: it
  // must not block. The strings need not outlive the call. Destroying the Verifier waits for the calls in flight.
  virtual void VerifyAsync(std::string_view key_string, const VerifyParams& params, Callback done) = 0;

  // Waits until the server can be reached, at most `patience`. Optional: Verify connects by itself.
  virtual bool WaitUntilConnected(absl::Duration patience) = 0;

  // Numbers for a metrics page. Takes microseconds.
  virtual VerifierStats Stats() const { return {}; }
};

}  // namespace latchkey
