#pragma once

#include "cuda/entries.hpp"
#include "cuda/matrix.hpp"

namespace pathcond::cuda {

/// For every matrix W of a work list the parts that its tiles have in right = W^T x and left = W y,
/// both from one read of W. A dense tile's parts lie at right_to + (tile of rows) * columns and
/// left_to + (tile of columns) * rows; the parts of a sparse matrix are whole.
template <class G, class Read>
struct PassKernel {
  static constexpr int kRow = kSide + 1;  ///< entries of one row lie in different banks
  struct Shared {
    double entry[kSide * kRow];
    double x[kSide], y[kSide];
    double right[kThreads], left[kThreads];
  };

  const Matrix<G>* matrices;
  const Item* items;
  int count;
  const double *x, *y;  ///< of all neurons; null: ones
  double* parts;
  Seen* seen;  ///< of every tile

  template <class Lane>
  PATHCOND_KERNEL void operator()(const Lane& lane, Shared& shared) const {
    const Item& item = entry_of(items, count, lane.block());
    const Matrix<G>& matrix = matrices[item.matrix];
    const std::int64_t tile = lane.block() - item.first_tile;
    if (matrix.dense())
      square(lane, shared, item, matrix, tile);
    else
      segments(lane, item, matrix, tile);
  }

 private:
  static constexpr int kParts = kThreads / kSide;

  template <class Lane>
  PATHCOND_KERNEL void square(const Lane& lane, Shared& shared, const Item& item,
                              const Matrix<G>& matrix, std::int64_t tile) const {
    const std::int64_t across = (matrix.rows + kSide - 1) / kSide;
    const auto row_tile = tile % across, column_tile = tile / across;
    const auto a0 = static_cast<int>(row_tile * kSide), b0 = static_cast<int>(column_tile * kSide);
    const int rows = matrix.rows - a0 < kSide ? matrix.rows - a0 : kSide;
    const int columns = matrix.columns - b0 < kSide ? matrix.columns - b0 : kSide;
    lane.for_each(kSide, [&](int k) {
      shared.x[k] = k < rows && x ? x[matrix.source + a0 + k] : 1;
      shared.y[k] = k < columns && y ? y[matrix.target + b0 + k] : 1;
    });
    const Seen all = load(lane, shared, matrix, a0, b0, rows, columns);
    lane.for_each(2 * kThreads, [&](int k) {
      const int at = k % kSide, first = k / kSide % kParts;
      double sum = 0;
      if (k < kThreads) {
        for (int a = first; a < rows && at < columns; a += kParts)
          sum += shared.entry[at * kRow + a] * shared.x[a];
        shared.right[k] = sum;
      } else {
        for (int b = first; b < columns && at < rows; b += kParts)
          sum += shared.entry[b * kRow + at] * shared.y[b];
        shared.left[k - kThreads] = sum;
      }
    });
    lane.for_each(2 * kSide, [&](int k) {
      const int at = k % kSide;
      const double* part = (k < kSide ? shared.right : shared.left) + at;
      double sum = 0;
      for (int q = 0; q < kParts; ++q) sum += part[q * kSide];
      sum *= matrix.scale;
      if (k < kSide && at < columns && item.right)
        parts[item.right_to + row_tile * matrix.columns + b0 + at] = sum;
      if (k >= kSide && at < rows && item.left)
        parts[item.left_to + column_tile * matrix.rows + a0 + at] = sum;
    });
    if constexpr (Read::looks) lane.for_each(1, [&](int) { seen[lane.block()] = all; });
  }

  /// Stages W_ab at entry[b][a].
  template <class Lane>
  PATHCOND_KERNEL static Seen load(const Lane& lane, Shared& shared, const Matrix<G>& matrix,
                                   int a0, int b0, int rows, int columns) {
    if (matrix.own)
      return load_from(lane, shared, matrix.own, matrix.stride, a0, b0, rows, columns);
    return load_from(lane, shared, matrix.borrowed, matrix.stride, a0, b0, rows, columns);
  }

  template <class Lane, class T>
  PATHCOND_KERNEL static Seen load_from(const Lane& lane, Shared& shared, const T* values,
                                        std::int64_t stride, int a0, int b0, int rows,
                                        int columns) {
    const float inverse = 1.0f / static_cast<float>(rows);
    const T* first = values + b0 * stride + a0;
    const auto read = [=](int flat) {
      const auto [b, a] = Cell::of(flat, rows, inverse);
      return first[b * stride + a];
    };
    const auto use = [=, entry = shared.entry](int flat, T value, Seen& all) {
      const auto [b, a] = Cell::of(flat, rows, inverse);
      entry[b * kRow + a] = Read::read(static_cast<double>(value), all);
    };
    if constexpr (Read::looks) return lane.fold(rows * columns, Seen{}, read, use);
    lane.for_each_read(rows * columns, read, [=](int flat, T value) {
      Seen unused;
      use(flat, value, unused);
    });
    return {};
  }

  template <class Lane>
  PATHCOND_KERNEL void segments(const Lane& lane, const Item& item, const Matrix<G>& matrix,
                                std::int64_t tile) const {
    lane.for_each(kThreads, [&](int k) {
      std::int64_t segment = tile * kThreads + k;
      const bool right = segment < matrix.columns;
      if (!right) segment -= matrix.columns;
      if (right ? !item.right : (segment >= matrix.rows || !item.left)) return;
      const Segments& by = right ? matrix.by_column : matrix.by_row;
      const double* with = right ? x + matrix.source : y + matrix.target;
      double sum = 0;
      for (std::int64_t e = by.ptr[segment]; e < by.ptr[segment + 1]; ++e)
        sum += by.value[e] * with[by.index[e]];
      parts[(right ? item.right_to : item.left_to) + segment] = matrix.scale * sum;
    });
  }
};

}  // namespace pathcond::cuda
