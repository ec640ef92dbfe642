#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/base/clock.h"
#include "server/model/key_store.h"

namespace latchkey::keys {

// The end of a rolling upgrade: raises the installation's feature level to this build's newest
// (server/model/feature_level.h), once every server that lives reads it. Blocks; one thread.
class Upgrade {
 public:
  struct Dependencies {
    storage::KeyStore& store;  // Two connections at least.
    const base::Clock& clock;
    std::function<void(absl::Duration)> pause;
    // Told before it waits for so long in all; again if the bound is raised meanwhile.
    std::function<void(absl::Duration)> waiting;
  };
  explicit Upgrade(Dependencies dependencies) : dependencies_(std::move(dependencies)) {}

  struct Result {
    int from = 0;
    int level = 0;
    int64_t revision = 0;               // Of the change; 0 = the installation was there already.
    std::vector<std::string> departed;  // Replicas that could not read the level and were found dead: forgotten.
  };
  // A server that can't read the new level and renews its lease, or has within L·(1+4ρ), is FAILED_PRECONDITION, named;
  // the level stays as it is then. One that does not, and whose last lease is over by that, loses its row; if it comes
  // back before the level is raised, that is refused, and afterwards it gets no lease any more. Otherwise as
  // KeyStore::Commit. `server`: which it is, for the audit.
  absl::StatusOr<Result> Finish(const std::string& server);

 private:
  absl::Status ForgetDeadReplicas(std::vector<std::string>& departed);

  const Dependencies dependencies_;
};

}  // namespace latchkey::keys
