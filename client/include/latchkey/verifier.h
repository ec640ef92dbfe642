#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace latchkey {

// Why. Numbers are those of latchkey.v1.Decision; anything but kAllowed means deny, also a number not listed here.
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

// Who a key is. Set only if its secret was right.
struct Identity {
  std::string name;  // organizations/{organization}/keys/{key id}.
  std::string key_id;
  std::string organization;
  std::string display_name;
  std::string role;
  std::vector<std::string> permissions;
  std::string owner;
  std::map<std::string, std::string> labels;
  absl::Time expires_at = absl::InfiniteFuture();  // InfiniteFuture = never.
  int secret_version = 0;
};

// One of three answers: allowed, denied (with a reason), or undecided (with an error). A default one is undecided, so
// forgetting to fill it in never allows.
class Answer {
 public:
  enum class Outcome { kUndecided, kAllowed, kDenied };

  Answer() = default;
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
  Outcome outcome_ = Outcome::kUndecided;
  Decision decision_ = Decision::kUnspecified;
  Identity identity_;
  absl::Status error_ = absl::UnknownError("no answer");
};

// How to reach the service.
struct VerifierOptions {
  // A gRPC target: "127.0.0.1:50051", "dns:///latchkey.internal:50051", "unix:/run/latchkey.sock". Required.
  std::string server;
  // A file with the caller's own key string (a key that holds latchkey.verify) and nothing else but one line end;
  // not readable by group or others. Required.
  std::string key_file;
  // How long one Verify may take in all. 1 ms .. 60 s.
  absl::Duration timeout = absl::Seconds(2);
};

// What one call asks beside the key.
struct VerifyParams {
  // All must be covered by the key's role; at most 32, each at most 128 bytes.
  std::vector<std::string> required_permissions = {};
  // Shorter than VerifierOptions::timeout for this call; longer has no effect.
  absl::Duration timeout = absl::InfiniteDuration();
};

// Asks a Latchkey service whether incoming key strings are good. Make one for the process and share it: thread-safe,
// and it keeps its connection.
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
};

}  // namespace latchkey
