#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace pathcond::fuzz {

/// Reads a fuzzer's input as numbers. Where it ends, zeros follow, so that 0 should stand for what
/// is plain and quick.
class Bytes {
 public:
  Bytes(const std::uint8_t* data, std::size_t size) : data_(data), end_(data + size) {}

  std::uint8_t byte() { return data_ == end_ ? std::uint8_t{0} : *data_++; }
  std::uint64_t word() {
    std::uint64_t bits = 0;
    for (int k = 0; k < 64; k += 8) bits |= std::uint64_t{byte()} << k;
    return bits;
  }
  /// In [0, n), n <= 256.
  int below(int n) { return byte() % n; }
  int between(int low, int high) { return low + below(high - low + 1); }
  /// False in all but one of n cases.
  bool rarely(int n) { return below(n) == n - 1; }
  template <class T>
  const T& one_of(const std::vector<T>& options) {
    return options[static_cast<std::size_t>(below(static_cast<int>(options.size())))];
  }

 private:
  const std::uint8_t *data_, *end_;
};

/// Numbers that follow from a seed (splitmix64): a few bytes of input fill an array.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}

  std::uint64_t word() {
    std::uint64_t z = state_ += 0x9E3779B97F4A7C15U;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9U;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBU;
    return z ^ (z >> 31);
  }
  std::int64_t below(std::int64_t n) {
    return static_cast<std::int64_t>(word() % static_cast<std::uint64_t>(n));
  }
  double between(double low, double high) {
    return low + (high - low) * static_cast<double>(word() >> 11) * 0x1p-53;
  }
  bool chance(double probability) { return between(0, 1) < probability; }

 private:
  std::uint64_t state_;
};

}  // namespace pathcond::fuzz
