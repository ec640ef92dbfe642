#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "client/core/clock.h"
#include "client/core/secret.h"
#include "client/src/event_loop.h"
#include "client/src/lease_cache.h"
#include "latchkey/verifier.h"

namespace latchkey::client {

class VerifyStream;

// One who waits for an answer.
struct Asker {
  std::vector<std::string> required_permissions;
  std::string client_ip;
  Verifier::Callback done;
  core::BootTime deadline;
  bool retried = false;   // After UNAVAILABLE.
  bool repeated = false;  // After an answer that came too late to be believed.
  bool joined = false;    // A question was under way already.

  VerifyParams params() const { return {.required_permissions = required_permissions, .client_ip = client_ip}; }
};

// One question on its way to a server, and all who wait for it. Fields are CachingVerifier's, under its mutex, but for
// those that never change.
struct Flight {
  Flight(core::Secret asked, const LeaseCache::Question& about) : key(std::move(asked)), question(about) {}

  const core::Secret key;               // The key string.
  const LeaseCache::Question question;  // From when it was not written yet: whose, but not when.

  std::vector<Asker> askers;
  core::BootTime deadline;  // The latest of theirs when the question was sent.
  int questions = 0;        // On the wire.
  bool over = false;
  std::optional<EventLoop::TimerId> timer;
  // While the verify stream has it: since when, and until when it is given time.
  std::shared_ptr<VerifyStream> stream;
  core::BootTime streamed_at;
  core::BootTime fall_back_at;
};

}  // namespace latchkey::client
