#pragma once

#include <array>
#include <bit>
#include <cstdint>

namespace latchkey::bench {

// Counts of durations in buckets that grow with the value, as in HdrHistogram: exact below 64 ns, within 1.6 % above.
// Not thread-safe: one a thread, added up at the end.
class Histogram {
 public:
  void Add(int64_t nanoseconds) {
    const auto value = static_cast<uint64_t>(nanoseconds < 0 ? 0 : nanoseconds);
    ++counts_[IndexOf(value)];
    ++total_;
  }

  void Add(const Histogram& other) {
    for (size_t i = 0; i < counts_.size(); ++i) counts_[i] += other.counts_[i];
    total_ += other.total_;
  }

  int64_t total() const { return total_; }

  // The middle of the bucket that holds the quantile (0..1), in nanoseconds; 0 if nothing was counted.
  double Quantile(double quantile) const {
    const double wanted = quantile * static_cast<double>(total_);
    int64_t seen = 0;
    for (size_t i = 0; i < counts_.size(); ++i) {
      seen += counts_[i];
      if (counts_[i] != 0 && static_cast<double>(seen) >= wanted) return MiddleOf(i);
    }
    return 0;
  }

 private:
  static constexpr int kBits = 6;
  static constexpr uint64_t kLinear = uint64_t{1} << kBits;

  // Below kLinear a bucket a value; above, kLinear buckets for each power of two.
  static size_t IndexOf(uint64_t value) {
    if (value < kLinear) return value;
    const int shift = std::bit_width(value) - 1 - kBits;
    return (static_cast<size_t>(shift) + 1) * kLinear + ((value >> shift) & (kLinear - 1));
  }
  static double MiddleOf(size_t index) {
    if (index < kLinear) return static_cast<double>(index);
    const auto shift = static_cast<int>(index / kLinear) - 1;
    const uint64_t low = (kLinear + index % kLinear) << shift;
    return static_cast<double>(low) + static_cast<double>(uint64_t{1} << shift) / 2;
  }

  std::array<int64_t, (64 - kBits + 1) * kLinear> counts_{};
  int64_t total_ = 0;
};

}  // namespace latchkey::bench
