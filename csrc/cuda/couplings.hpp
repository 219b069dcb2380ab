#pragma once

#include "core/forest.hpp"
#include "cuda/matrix.hpp"

namespace pathcond::cuda {

/// The largest products x_a W_ab y_b of one neuron, in descending order; size 0 where there are
/// fewer.
struct Strongest {
  static constexpr int kMost = StrongCouplings::kPerNeuron;
  double size[kMost] = {};
  std::int32_t other[kMost] = {};

  PATHCOND_KERNEL void offer(double candidate, std::int32_t neuron) {
    for (int k = 0; k < kMost; ++k) {
      if (!(candidate > size[k])) continue;
      const double displaced = size[k];
      const std::int32_t its = other[k];
      size[k] = candidate;
      other[k] = neuron;
      candidate = displaced;
      neuron = its;
    }
  }
  PATHCOND_KERNEL void join(const Strongest& more) {
    for (int k = 0; k < kMost; ++k) offer(more.size[k], more.other[k]);
  }
};

/// The strongest products of every column at right_to, and of every row at left_to, of the matrices
/// of a work list: one tile per column, then one per kThreads rows.
template <class G>
struct CouplingKernel {
  struct Shared {};

  const Matrix<G>* matrices;
  const Item* items;
  int count;
  const double *x, *y;
  Strongest* strongest;

  static std::int64_t tiles(const Matrix<G>& matrix) {
    return matrix.columns + segment_tiles(matrix.rows, 0);
  }

  template <class Lane>
  PATHCOND_KERNEL void operator()(const Lane& lane, Shared&) const {
    const Item& item = entry_of(items, count, lane.block());
    const Matrix<G>& matrix = matrices[item.matrix];
    const std::int64_t tile = lane.block() - item.first_tile;
    if (tile < matrix.columns)
      column(lane, item, matrix, tile);
    else
      rows(lane, item, matrix, static_cast<int>(tile - matrix.columns) * kThreads);
  }

 private:
  template <class Lane>
  PATHCOND_KERNEL void column(const Lane& lane, const Item& item, const Matrix<G>& matrix,
                              std::int64_t b) const {
    const double factor = matrix.scale * y[matrix.target + b];
    const Segments& by = matrix.by_column;
    const std::int64_t begin = matrix.dense() ? 0 : by.ptr[b];
    const int size = matrix.dense() ? matrix.rows : static_cast<int>(by.ptr[b + 1] - begin);
    const auto row = [&](int k) { return matrix.dense() ? k : by.index[begin + k]; };
    const auto product = [&](int k) {
      const double w = matrix.dense() ? matrix.stored(k, b) : by.value[begin + k];
      return w * x[matrix.source + row(k)] * factor;
    };
    const Strongest found =
        lane.fold(size, Strongest{}, product,
                  [&](int k, double value, Strongest& best) { best.offer(value, row(k)); });
    lane.for_each(1, [&](int) { strongest[item.right_to + b] = found; });
  }

  template <class Lane>
  PATHCOND_KERNEL void rows(const Lane& lane, const Item& item, const Matrix<G>& matrix,
                            int first) const {
    lane.for_each(kThreads, [&](int k) {
      const int a = first + k;
      if (a >= matrix.rows) return;
      const double factor = matrix.scale * x[matrix.source + a];
      const Segments& by = matrix.by_row;
      const std::int64_t begin = matrix.dense() ? 0 : by.ptr[a];
      const std::int64_t end = matrix.dense() ? matrix.columns : by.ptr[a + 1];
      Strongest best;
      for (std::int64_t e = begin; e < end; ++e) {
        const std::int32_t b = matrix.dense() ? static_cast<std::int32_t>(e) : by.index[e];
        const double w = matrix.dense() ? matrix.stored(a, b) : by.value[e];
        best.offer(w * y[matrix.target + b] * factor, b);
      }
      strongest[item.left_to + a] = best;
    });
  }
};

}  // namespace pathcond::cuda
