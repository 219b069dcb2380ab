#pragma once

#include <cstdint>
#include <limits>

#include "core/accumulate.hpp"
#include "core/host_device.hpp"
#include "cuda/lane.hpp"
#include "cuda/narrow.hpp"

/// Entries of g as kernels read them.
namespace pathcond::cuda {

/// A `Look` that threads take together.
struct Seen {
  double smallest = std::numeric_limits<double>::infinity();
  double largest = 0;
  bool usual = true;

  PATHCOND_KERNEL void see(double entry) {
    smallest = entry < smallest ? entry : smallest;
    largest = entry > largest ? entry : largest;
  }
  PATHCOND_HOST_DEVICE void join(const Seen& other) {
    smallest = other.smallest < smallest ? other.smallest : smallest;
    largest = other.largest > largest ? other.largest : largest;
    usual = usual && other.usual;
  }
  Look look() const { return {smallest, largest, usual}; }
};

PATHCOND_KERNEL inline bool is_positive(double entry) {
  return entry > 0 && entry <= std::numeric_limits<double>::max();
}

/// Adds entries up; usual are those that are positive and finite.
struct Sum {
  static constexpr bool looks = true;
  PATHCOND_KERNEL static double read(double entry, Seen& seen) {
    seen.see(entry);
    seen.usual = seen.usual && is_positive(entry);
    return entry;
  }
};

/// Counts the positive entries; usual are all that may occur, 0 among them.
struct Count {
  static constexpr bool looks = true;
  PATHCOND_KERNEL static double read(double entry, Seen& seen) {
    const bool positive = is_positive(entry);
    if (positive) seen.see(entry);
    seen.usual = seen.usual && (positive || entry == 0);
    return positive ? 1 : 0;
  }
};

/// Adds numbers up without a look at them.
struct Add {
  static constexpr bool looks = false;
  PATHCOND_KERNEL static double read(double entry, Seen&) { return entry; }
};

/// Place of entry `flat` in an array of rows, `inverse` = 1 / width. No integer is divided: below
/// 2^13 entries the distance to the next integer, half of `inverse`, is well above the rounding.
struct Cell {
  int row, column;

  PATHCOND_KERNEL static Cell of(int flat, int width, float inverse) {
    const auto row = static_cast<int>((static_cast<float>(flat) + 0.5f) * inverse);
    return {row, flat - row * width};
  }
};

}  // namespace pathcond::cuda
