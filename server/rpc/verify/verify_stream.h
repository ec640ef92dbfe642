#pragma once

#include <cstddef>
#include <memory>

#include "server/base/clock.h"
#include "server/base/periodic.h"
#include "server/keys/verify/async_verifier.h"
#include "server/rpc/call/call.h"
#include "server/rpc/transport/stream_registry.h"
#include "server/rpc/transport/transport.h"

namespace latchkey::rpc {

// The open StreamVerify streams. Each reads a batch at a time, answers what memory decides on the transport's own
// thread in one message, and the rest in later messages as it is decided. Reading stops while 64 answers, or 256 KiB of
// them, wait for a client that does not take them. Each second one thread looks at all streams: one whose caller is no
// longer good is ended though it says nothing, and one whose client has taken nothing of an answer for 30 s is
// cancelled. Thread-safe.
class VerifyStreams {
 public:
  // What it works with; all outlive it.
  struct Dependencies {
    const CallDependencies& calls;
    keys::AsyncVerifier& async_verifier;
    const base::Clock& clock;
  };
  // `limit`: streams at a time, half of them by one key; beyond it WORKERS_BUSY.
  VerifyStreams(const Dependencies& dependencies, size_t limit);
  // Streams must be gone.
  ~VerifyStreams();
  VerifyStreams(const VerifyStreams&) = delete;
  VerifyStreams& operator=(const VerifyStreams&) = delete;

  std::shared_ptr<StreamHandler> Open(StreamCall& call);
  // Every stream answers what it has read and ends with SHUTTING_DOWN; so does each one opened later. Doesn't wait.
  void StartDraining() { registry_.StartDraining(); }
  // As each second.
  void Sweep() { registry_.Sweep(dependencies_.clock.BootNow(), /*over=*/false); }

 private:
  class Stream;

  const Dependencies dependencies_;
  StreamRegistry registry_;
  base::Periodic sweeper_;
};

}  // namespace latchkey::rpc
