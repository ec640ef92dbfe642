#pragma once

#include <cstdint>
#include <limits>

namespace latchkey::core {

// Saturating addition: the sum of two counts, neither negative, at most INT64_MAX.
inline int64_t SaturatingSum(int64_t a, int64_t b) {
  constexpr int64_t kMost = std::numeric_limits<int64_t>::max();
  return a > kMost - b ? kMost : a + b;
}

}  // namespace latchkey::core
