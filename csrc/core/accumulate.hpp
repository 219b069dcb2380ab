#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <utility>

/// Sums over axes of an array that is read once, in the order in which it lies in memory.
namespace pathcond {

/// What one look at entries of g tells.
struct Look {
  double smallest = std::numeric_limits<double>::infinity();
  double largest = 0;
  bool usual = true;  ///< all are positive and finite; else the bounds hold for nothing

  void add(const Look& other) {
    smallest = std::min(smallest, other.smallest);
    largest = std::max(largest, other.largest);
    usual = usual && other.usual;
  }
};

/// One axis of a loop nest: its length, its stride in g and its stride in the sums (0: summed).
struct Axis {
  std::int64_t size, stride, to;
};

using Nest = std::array<Axis, 4>;

/// The axes, outermost in memory first; neighbours that act as one are joined.
template <std::size_t N>
std::array<Axis, N> nest(std::array<Axis, N> axes) {
  const auto sort = [&] {
    std::stable_sort(axes.begin(), axes.end(), [](const Axis& a, const Axis& b) {
      if ((a.size == 1) != (b.size == 1)) return a.size == 1;
      return a.stride > b.stride;
    });
  };
  sort();
  for (std::size_t inner = axes.size() - 1; inner > 0; --inner) {
    Axis &a = axes[inner - 1], &b = axes[inner];
    if (a.size == 1 || a.stride != b.size * b.stride || a.to != b.size * b.to) continue;
    b.size *= a.size;
    a = {1, 0, 0};
    std::swap(a, b);  // the joined axis may go with the next one out
  }
  sort();
  return axes;
}

/// Adds every entry to its sum, after a look at it; the axes in any order.
template <class G>
Look accumulate(const G* g, const Nest& axes, double* to);

/// A look at a matrix that stays where it is, `stride` from one column to the next; adds every
/// entry to the sum of its column and to that of its row.
template <class G>
Look inspect(const G* g, std::int64_t columns, std::int64_t stride, std::int64_t rows,
             double* column_sums, double* row_sums);

}  // namespace pathcond
