#pragma once

#include <cstddef>
#include <mutex>
#include <string>

#include "absl/container/flat_hash_map.h"

namespace latchkey::rpc {

// The streams that each caller's key holds open, so that one key can't hold all that there may be. Thread-safe.
class CallerPlaces {
 public:
  // `each`: streams of one key at a time.
  explicit CallerPlaces(size_t each) : each_(each) {}
  CallerPlaces(const CallerPlaces&) = delete;
  CallerPlaces& operator=(const CallerPlaces&) = delete;

  // False if `kid` holds as many as it may. After true, Leave once.
  [[nodiscard]] bool Take(const std::string& kid);
  void Leave(const std::string& kid);

 private:
  const size_t each_;
  std::mutex mutex_;
  absl::flat_hash_map<std::string, size_t> held_;  // None is 0.
};

}  // namespace latchkey::rpc
