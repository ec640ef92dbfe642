#pragma once

#include <cstdint>
#include <functional>

namespace latchkey::keys {

// Tells the other servers that there is something new in the log, so that they read it within milliseconds instead of
// at their next renewal. A hint only: it grants nothing, may be lost, repeated or forged, and everything is correct
// without it. Thread-safe.
class Doorbell {
 public:
  // What a server hears. `waiting`: somebody waits until every server has renewed: renew now rather than merely read.
  using Heard = std::function<void(int64_t revision, bool waiting)>;

  virtual ~Doorbell() = default;
  // Never blocks; rings in short succession become one.
  virtual void Ring(int64_t revision, bool waiting) = 0;
};

}  // namespace latchkey::keys
