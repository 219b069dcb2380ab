#pragma once

#include <cstdint>
#include <vector>

#include "core/blocks.hpp"
#include "cuda/matrix.hpp"

namespace pathcond::cuda {

/// Copies a matrix's weights into its block on the host: column by column where they are the
/// caller's.
template <class Machine, class G>
void bring_block(Machine& machine, const Matrix<G>& matrix, Block& block) {
  block.scale = matrix.scale;
  const auto bring = [&]<class T, class To>(const T* from, std::int64_t runs, std::int64_t size,
                                            std::int64_t stride, std::vector<To>& to) {
    const auto all = static_cast<std::size_t>(runs * size);
    T* found = static_cast<T*>(machine.host(all * sizeof(T)));
    for (std::int64_t k = 0; k < runs; ++k)
      machine.download(found + k * size, from + k * stride,
                       static_cast<std::size_t>(size) * sizeof(T));
    machine.wait();
    to.resize(all);
    for (std::size_t k = 0; k < all; ++k) to[k] = static_cast<To>(found[k]);
  };
  if (!matrix.dense()) {
    bring(matrix.by_column.index, 1, matrix.values, 0, block.index);
    bring(matrix.by_column.value, 1, matrix.values, 0, block.value);
  } else if (matrix.own) {
    bring(matrix.own, 1, block.stored(), 0, block.value);
  } else {
    bring(matrix.borrowed, matrix.columns, matrix.rows, matrix.stride, block.value);
  }
}

}  // namespace pathcond::cuda
