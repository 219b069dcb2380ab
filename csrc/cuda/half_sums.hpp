#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "core/weights.hpp"
#include "cuda/collapse_plan.hpp"
#include "cuda/matrix.hpp"

namespace pathcond::cuda {

template <class G>
std::int64_t row_tiles(const Matrix<G>& m) {
  return m.dense() ? sides(m.rows) : 1;
}
template <class G>
std::int64_t column_tiles(const Matrix<G>& m) {
  return m.dense() ? sides(m.columns) : 1;
}
/// Of a pass over a matrix.
template <class G>
std::int64_t pass_tiles(const Matrix<G>& m) {
  return m.dense() ? row_tiles(m) * column_tiles(m) : segment_tiles(m.rows, m.columns);
}
/// Numbers that the tiles of both half-sums come to.
template <class G>
std::int64_t part_count(const Matrix<G>& m) {
  return column_tiles(m) * m.rows + row_tiles(m) * m.columns;
}

/// What two launches are told that take half-sums: `PassKernel` reads the matrices,
/// `CollapseKernel` adds up the parts that its tiles have in the sums.
struct HalfSumTasks {
  std::vector<Item> items;
  std::vector<Collapse<double>> tasks;
  std::int64_t tiles = 0, second_tiles = 0;

  /// `to(block, left)`: where a half-sum goes. `parts` has room for those of all matrices.
  template <class G, class To>
  static HalfSumTasks of(std::span<const Wanted> wanted, const std::vector<Matrix<G>>& matrices,
                         double* parts, const To& to) {
    HalfSumTasks all;
    std::int64_t next = 0;
    const auto half = [&](const Wanted& w, bool left, std::int64_t size, std::int64_t pieces) {
      const std::int64_t first = next;
      if (left ? !w.left : !w.right) return first;
      auto task = plan_pieces(size, pieces, Cut::never);
      task.from = parts + first;
      task.to = to(w.block, left);
      all.tasks.push_back(task);
      next += size * pieces;
      return first;
    };
    for (const Wanted& w : wanted) {
      const auto& m = matrices[w.block];
      Item item{w.block, w.left, w.right, 0, 0, pass_tiles(m), 0};
      item.left_to = half(w, true, m.rows, column_tiles(m));
      item.right_to = half(w, false, m.columns, row_tiles(m));
      all.items.push_back(item);
    }
    all.tiles = number_tiles(all.items);
    all.second_tiles = number_tiles(all.tasks);
    return all;
  }
};

}  // namespace pathcond::cuda
