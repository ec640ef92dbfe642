#pragma once

#include <cstddef>
#include <mutex>
#include <string>

#include "absl/container/flat_hash_map.h"

namespace latchkey::rpc {

// The streams that each caller's key holds open, so that one key can't hold all that there may be. Thread-safe.
class PerCallerLimit {
 public:
  // `each`: streams of one key at a time.
  explicit PerCallerLimit(size_t each) : each_(each) {}
  PerCallerLimit(const PerCallerLimit&) = delete;
  PerCallerLimit& operator=(const PerCallerLimit&) = delete;

  // False if `kid` holds as many as it may. After true, Release once.
  [[nodiscard]] bool Acquire(const std::string& kid);
  void Release(const std::string& kid);

 private:
  const size_t each_;
  std::mutex mutex_;
  absl::flat_hash_map<std::string, size_t> held_;  // None is 0.
};

}  // namespace latchkey::rpc
