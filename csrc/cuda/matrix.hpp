#pragma once

#include <cstdint>

#include "cuda/lane.hpp"
#include "cuda/work_list.hpp"

namespace pathcond::cuda {

/// Segments of a sparse matrix: its columns, or its rows.
struct Segments {
  const std::int64_t* ptr = nullptr;
  const std::int32_t* index = nullptr;  ///< row of every value of a column, or the reverse
  double* value = nullptr;
};

/// A block's weights on the device; neurons count from the start of their group. Dense and the
/// backend's own, dense and the caller's, or sparse and stored both ways.
template <class G>
struct Matrix {
  std::int32_t rows = 0, columns = 0;
  std::int64_t source = 0, target = 0;  ///< first neurons of the two groups
  double scale = 1;                     ///< the weights are this times what is stored
  double* own = nullptr;
  const G* borrowed = nullptr;
  std::int64_t stride = 0;  ///< from one column to the next
  std::int64_t values = 0;  ///< of a sparse matrix
  Segments by_column, by_row;

  PATHCOND_KERNEL bool dense() const { return by_column.ptr == nullptr; }
  PATHCOND_KERNEL double stored(int row, std::int64_t column) const {
    const std::int64_t at = column * stride + row;
    return own ? own[at] : static_cast<double>(borrowed[at]);
  }
};

/// One matrix in the work list of a launch.
struct Item {
  std::int32_t matrix = 0;
  std::int32_t left = 0, right = 0;  ///< whether these half-sums are wanted
  std::int64_t left_to = 0, right_to = 0;
  std::int64_t tiles = 0, first_tile = 0;
};

/// Tiles of a dense matrix are squares, of a sparse one runs of columns, then of rows.
inline constexpr int kSide = 64;

inline std::int64_t sides(std::int64_t size) { return (size + kSide - 1) / kSide; }

inline std::int64_t segment_tiles(std::int64_t rows, std::int64_t columns) {
  return (rows + columns + kThreads - 1) / kThreads;
}

}  // namespace pathcond::cuda
