#pragma once

#include <map>
#include <mutex>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "latchkey/verifier.h"

namespace latchkey::testing {

// A Verifier for tests of services that use one: answers as it was told, without a network, at once and on the caller's
// thread. Strings are compared as they are, so they need not be key strings. What it was told nothing about is denied
// as kNotFound. Thread-safe.
//
//   FakeVerifier verifier;
//   verifier.Allow("good", Identity({.organization = "acme", .key_id = "k1", .permissions = {"app.read"}}));
//   verifier.Deny("bad", Decision::kRevoked);
class FakeVerifier : public Verifier {
 public:
  // Allowed if `identity`'s permissions cover what is required ("*" and "app.*" as on a server), else
  // kPermissionDenied; kClientNotAllowed unless client_ip is in its allowed_cidrs, if it has any.
  void Allow(std::string_view key_string, const Identity& identity);
  // Denied whatever is asked; with an identity where a server would tell it.
  void Deny(std::string_view key_string, Decision decision, const Identity& identity = {});
  // Every answer is undecided with this error, until it is called with OK.
  void SetUndecided(absl::Status error);
  // As if nothing had been said about the string.
  void Forget(std::string_view key_string);

  // Questions so far.
  int calls() const;
  int calls(std::string_view key_string) const;

  Answer Verify(std::string_view key_string, const VerifyParams& params) override;
  void VerifyAsync(std::string_view key_string, const VerifyParams& params, Callback done) override;
  // True unless it was set undecided.
  bool WaitUntilConnected(absl::Duration patience) override;
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
