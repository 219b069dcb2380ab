#pragma once

#include <cstdint>

#include "core/host_device.hpp"

/// LDL^T of sparse symmetric matrices, by one thread or a block of them, see `SerialLane`. Arrays
/// by position are in the order of the elimination.
namespace pathcond {

/// See `SparsePattern`. The elimination of a column reaches what its entries connect.
struct PatternView {
  std::int32_t size;             ///< n
  const std::int32_t* order;     ///< node eliminated k-th
  const std::int32_t* ptr;       ///< n + 1: entries below the diagonal of every column
  const std::int32_t* row;       ///< of every entry; increasing within a column
  const std::int32_t* left_ptr;  ///< n + 1: entries left of the diagonal of every row, in these two
  const std::int32_t* column;
  const std::int32_t* place;  ///< among the entries of columns
};

/// A = L D L^T, A positive definite up to directions without curvature, whose pivots become 0.
/// `diagonal`: by node. `l`: the other entries of A, becomes L. `pivot`: becomes D, by position.
template <class Lane>
PATHCOND_KERNEL void factor(const Lane& lane, const PatternView& pattern, const double* diagonal,
                            double* l, double* pivot) {
  // What rounding leaves of a pivot without curvature.
  constexpr double kSmallestPivot = 1e-14;
  lane.for_each(pattern.size, [&](int k) { pivot[k] = diagonal[pattern.order[k]]; });
  for (int k = 0; k < pattern.size; ++k) {
    const std::int32_t first = pattern.ptr[k], entries = pattern.ptr[k + 1] - first;
    const std::int32_t* row = pattern.row + first;
    double* own = l + first;
    const double D = pivot[k];
    const bool curved = D > kSmallestPivot * diagonal[pattern.order[k]];
    lane.for_each(curved ? entries : 0, [&](int i) {
      const double multiple = own[i] / D;
      pivot[row[i]] -= multiple * own[i];
      std::int32_t to = pattern.ptr[row[i]];
      for (int j = i + 1; j < entries; ++j, ++to) {
        while (pattern.row[to] != row[j]) ++to;
        l[to] -= multiple * own[j];
      }
    });
    // Every thread has read its D by now.
    lane.for_each(entries + 1, [&](int i) {
      if (i < entries)
        own[i] = curved ? own[i] / D : 0;
      else
        pivot[k] = curved ? D : 0;
    });
  }
}

/// Overwrites several right-hand sides, each by position and one after the other, with the
/// solutions; 0 where the pivot is.
template <int kSides, class Lane>
PATHCOND_KERNEL void solve_factored(const Lane& lane, const PatternView& pattern, const double* l,
                                    const double* pivot, double* z) {
  const std::int32_t n = pattern.size;
  const auto subtract = [&](int to, double factor, int from) {
    for (int side = 0; side < kSides; ++side) z[side * n + to] -= factor * z[side * n + from];
  };
  for (int k = 0; k < n; ++k) {
    const std::int32_t first = pattern.ptr[k];
    lane.for_each(pattern.ptr[k + 1] - first,
                  [&](int i) { subtract(pattern.row[first + i], l[first + i], k); });
  }
  lane.for_each(kSides * n, [&](int i) { z[i] = pivot[i % n] > 0 ? z[i] / pivot[i % n] : 0; });
  for (int k = n - 1; k > 0; --k) {
    const std::int32_t first = pattern.left_ptr[k];
    lane.for_each(pattern.left_ptr[k + 1] - first, [&](int i) {
      subtract(pattern.column[first + i], l[pattern.place[first + i]], k);
    });
  }
}

/// (A - m m^T)^-1 b = A^-1 b + this (m^T A^-1 b) A^-1 m, where `rest` is 1 - m^T A^-1 m.
PATHCOND_HOST_DEVICE inline double rank_one_weight(double rest) {
  // F is flat along A^-1 m where nothing is left: no step along it.
  constexpr double kSmallestRest = 1e-13;
  return rest > kSmallestRest ? 1 / rest : 0;
}

}  // namespace pathcond
