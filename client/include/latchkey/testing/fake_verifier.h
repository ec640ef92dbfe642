#pragma once

#include <map>
#include <mutex>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "latchkey/verifier.h"

namespace latchkey::testing {

// Fake Verifier for tests of services that use one: answers as it was told, without a network, at once and on the
// caller's thread, VerifyAsync's `done` too. Strings are compared as they are, so they need not be key strings. What it
// was told nothing about is denied as kNotFound. VerifyParams are checked as by the real one: a client_ip that is no
// address, or a malformed permission, is undecided with INVALID_ARGUMENT; timeout and stop have no effect. Thread-safe.
//
//   FakeVerifier verifier;
//   verifier.Allow("good", Identity({.organization = "acme", .key_id = "k1", .permissions = {"app.read"}}));
//   verifier.Deny("bad", Decision::kRevoked);
class FakeVerifier : public Verifier {
 public:
  // From now on, in place of what was said about the string before: kClientNotAllowed if `identity` has allowed_cidrs
  // and client_ip is in none of them (see Identity::Fields), else kPermissionDenied unless its permissions cover what
  // is required ("*" and "app.*" as on a server), else kAllowed. Time plays no part, also not its expires_at.
  void Allow(std::string_view key_string, const Identity& identity);
  // From now on denied whatever is asked, with this reason; with an identity where a server would tell it: for all but
  // kMalformed and kNotFound. kAllowed is Allow.
  void Deny(std::string_view key_string, Decision decision, const Identity& identity = {});
  // Every answer is undecided with this error, until it is called with OK; what was said about strings is kept.
  void SetUndecided(absl::Status error);
  // As if nothing had been said about the string.
  void Forget(std::string_view key_string);

  // Questions so far, by Verify and VerifyAsync, whatever was answered; of all strings, and of one.
  int calls() const;
  int calls(std::string_view key_string) const;

  Answer Verify(std::string_view key_string, const VerifyParams& params = {}) override;
  void VerifyAsync(std::string_view key_string, const VerifyParams& params, Callback done) override;
  // At once; true unless it was set undecided.
  bool WaitUntilConnected(absl::Duration patience) override;
  // `hits` (all that was decided) and `undecided`; nothing else is counted.
  VerifierStats Stats() const override;

 private:
  struct Rule {
    Decision decision = Decision::kNotFound;
    Identity identity;
  };
  mutable std::mutex mutex_;
  std::map<std::string, Rule, std::less<>> rules_;
  std::map<std::string, int, std::less<>> calls_;
  absl::Status undecided_;
  VerifierStats stats_;
};

}  // namespace latchkey::testing
