#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "client/core/clock.h"
#include "client/core/secret.h"
#include "client/src/cache/lease_cache.h"
#include "client/src/event_loop.h"
#include "latchkey/verifier.h"

namespace latchkey::client {

class VerifyStream;

using StopHook = std::optional<std::stop_callback<std::function<void()>>>;

// One who waits for an answer.
struct Asker {
  std::vector<std::string> required_permissions;
  std::string client_ip;
  Verifier::Callback done;
  core::BootTime deadline;
  bool retried = false;                 // After UNAVAILABLE.
  int repeats = 0;                      // After answers that could not be believed.
  bool joined = false;                  // A question was under way already.
  std::shared_ptr<StopHook> stop_hook;  // nullptr = it can't be withdrawn.

  // After the answer, without the verifier's mutex (it waits for a stop under way) and before the verifier may go: what
  // both have captured goes while it still stands.
  void LetGo() {
    done = nullptr;
    stop_hook = nullptr;
  }

  VerifyParams params() const { return {.required_permissions = required_permissions, .client_ip = client_ip}; }
};

// One question on its way to a server, and all who wait for it. Fields are CachingVerifier's, under its mutex, but for
// those that never change.
struct Flight {
  Flight(core::Secret asked, const LeaseCache::Question& about, std::string at_least)
      : key(std::move(asked)), question(about), min_revision(std::move(at_least)) {}

  const core::Secret key;               // The key string.
  const LeaseCache::Question question;  // From when it was not written yet: whose, but not when.
  const std::string min_revision;       // A token that the answer must include; "" = none.

  std::vector<Asker> askers;
  core::BootTime deadline;  // The latest of theirs when the question was sent.
  int questions = 0;        // On the wire, or just about to be.
  bool over = false;
  std::optional<EventLoop::TimerId> timer;
  // While the verify stream has it: since when, and until when it is given time.
  std::shared_ptr<VerifyStream> stream;
  core::BootTime streamed_at;
  core::BootTime fall_back_at;
};

}  // namespace latchkey::client
