#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tests/support/memory_service.h"

namespace latchkey::keys {

// A second server on the same store.
struct Replica {
  explicit Replica(testing::MemoryService& service, LogFollower::Options options = {.replica = "another"})
      : Replica(service, service.store, std::move(options)) {}
  Replica(testing::MemoryService& service, storage::KeyStore& store,
          LogFollower::Options options = {.replica = "another"})
      : follower(store, index, hub, service.clock, std::move(options)),
        checker(store, index, service.ring, service.hashes, service.clock, {}),
        verifier(index, service.ring, checker, service.clock) {
    follower.OnHistoryRewritten([this](const std::string& what) { alarms.push_back(what); });
  }
  absl::StatusOr<Verdict> Verify(std::string_view text) {
    return verifier.Verify({.key = text, .asker_organization = "system"}, absl::InfiniteDuration());
  }
  KeyIndex index;
  WatchHub hub;
  LogFollower follower;
  SecretChecker checker;
  KeyVerifier verifier;
  std::vector<std::string> alarms;
};

}  // namespace latchkey::keys
