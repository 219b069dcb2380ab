#pragma once

#include <cmath>
#include <limits>

#include "core/host_device.hpp"
#include "cuda/matrix.hpp"

/// Weights that take part of u into themselves, see `Weights::absorb`; V are the weights at first.
namespace pathcond::cuda {

struct Largest {
  double exponent = -std::numeric_limits<double>::infinity();
  PATHCOND_HOST_DEVICE void join(const Largest& other) {
    exponent = other.exponent > exponent ? other.exponent : exponent;
  }
};

/// log V_ab + u_a - u_b of the value at position k of a matrix, column by column or, of a sparse
/// matrix, also row by row.
template <class G>
PATHCOND_KERNEL double exponent_at(const Matrix<G>& matrix, bool by_column, std::int64_t segment,
                                   std::int64_t k, const double* u) {
  double value;
  std::int64_t a, b;
  if (matrix.dense()) {
    a = k, b = segment;
    value = matrix.stored(static_cast<int>(a), b);
  } else {
    const Segments& by = by_column ? matrix.by_column : matrix.by_row;
    value = by.value[k];
    a = by_column ? by.index[k] : segment;
    b = by_column ? segment : by.index[k];
  }
  return std::log(matrix.scale * value) + u[matrix.source + a] - u[matrix.target + b];
}

/// One tile per column of every matrix, then one per row of the sparse ones.
template <class G>
std::int64_t absorb_tiles(const Matrix<G>& matrix) {
  return matrix.columns + (matrix.dense() ? 0 : matrix.rows);
}

/// Calls visit(by column, segment, first, size) for the values of a tile: [first, first + size).
template <class G, class Visit>
PATHCOND_KERNEL void with_segment(const Matrix<G>& matrix, std::int64_t tile, const Visit& visit) {
  if (matrix.dense()) {
    visit(true, tile, std::int64_t{0}, matrix.rows);
    return;
  }
  const bool by_column = tile < matrix.columns;
  const std::int64_t segment = by_column ? tile : tile - matrix.columns;
  const Segments& by = by_column ? matrix.by_column : matrix.by_row;
  visit(by_column, segment, by.ptr[segment],
        static_cast<int>(by.ptr[segment + 1] - by.ptr[segment]));
}

template <class G>
struct LargestKernel {
  struct Shared {};

  const Matrix<G>* matrices;
  const Item* items;
  int count;
  const double* u;
  Largest* largest;  ///< of every tile

  template <class Lane>
  PATHCOND_KERNEL void operator()(const Lane& lane, Shared&) const {
    const Item& item = entry_of(items, count, lane.block());
    const Matrix<G>& matrix = matrices[item.matrix];
    with_segment(matrix, lane.block() - item.first_tile,
                 [&](bool by_column, std::int64_t segment, std::int64_t first, int size) {
                   const auto exponent = [&](int k) {
                     return exponent_at(matrix, by_column, segment, first + k, u);
                   };
                   const Largest all =
                       lane.fold(size, Largest{}, exponent,
                                 [](int, double value, Largest& best) { best.join({value}); });
                   lane.for_each(1, [&](int) { largest[lane.block()] = all; });
                 });
  }
};

/// Writes exp(log V_ab + u_a - u_b - offset) to matrices of the same shape that own their values.
template <class G>
struct AbsorbKernel {
  struct Shared {};

  const Matrix<G>*from, *to;
  const Item* items;
  int count;
  const double* u;
  double offset;

  template <class Lane>
  PATHCOND_KERNEL void operator()(const Lane& lane, Shared&) const {
    const Item& item = entry_of(items, count, lane.block());
    const Matrix<G>&matrix = from[item.matrix], &result = to[item.matrix];
    with_segment(matrix, lane.block() - item.first_tile,
                 [&](bool by_column, std::int64_t segment, std::int64_t first, int size) {
                   double* values = result.own + segment * result.stride;
                   if (!matrix.dense())
                     values = by_column ? result.by_column.value : result.by_row.value;
                   lane.for_each(size, [&](int k) {
                     const double e = exponent_at(matrix, by_column, segment, first + k, u);
                     values[first + k] = std::exp(e - offset);
                   });
                 });
  }
};

}  // namespace pathcond::cuda
