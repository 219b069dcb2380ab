#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "core/blocks.hpp"
#include "cuda/matrix.hpp"
#include "cuda/memory.hpp"

namespace pathcond::cuda {

/// The rows of a sparse block: like its columns, whose order they keep.
inline Block by_rows(const Block& block) {
  Block rows;
  rows.ptr.assign(static_cast<std::size_t>(block.rows) + 1, 0);
  for (const auto a : block.index) ++rows.ptr[a + 1];
  for (std::int32_t a = 0; a < block.rows; ++a) rows.ptr[a + 1] += rows.ptr[a];
  rows.index.resize(block.index.size());
  rows.value.resize(block.value.size());
  auto next = rows.ptr;
  block.for_each([&](std::int32_t a, std::int32_t b, std::size_t k) {
    const auto at = static_cast<std::size_t>(next[a]++);
    rows.index[at] = b;
    rows.value[at] = block.value[k];
  });
  return rows;
}

/// Moves the values of blocks to the device; of the blocks only what tells their shape remains.
/// `matrices` begin with the shape of every block.
template <class Machine, class G>
void upload_blocks(Machine& machine, std::vector<Block*> blocks, std::vector<Matrix<G>*> matrices) {
  struct Parts {
    Slot<std::int64_t> ptr;
    Slot<std::int32_t> index;
    Slot<double> value;
  };
  std::vector<Block> turned;
  for (const Block* block : blocks) turned.push_back(block->dense() ? Block{} : by_rows(*block));
  Mirrored up;
  std::vector<Parts> slots;
  const auto reserve = [&](const Block& block) {
    slots.push_back({up.reserve<std::int64_t>(std::ssize(block.ptr)),
                     up.reserve<std::int32_t>(std::ssize(block.index)),
                     up.reserve<double>(std::ssize(block.value))});
  };
  for (std::size_t k = 0; k < blocks.size(); ++k) {
    reserve(*blocks[k]);
    reserve(turned[k]);
  }
  if (up.bytes() == 0) return;
  up.place(machine.device(up.bytes()), machine.host(up.bytes()));
  auto slot = slots.begin();
  const auto place = [&](const Block& block) {
    const auto& [ptr, index, value] = *slot++;
    std::copy(block.ptr.begin(), block.ptr.end(), up.host(ptr));
    std::copy(block.index.begin(), block.index.end(), up.host(index));
    std::copy(block.value.begin(), block.value.end(), up.host(value));
    return Segments{up.device(ptr), up.device(index), up.device(value)};
  };
  for (std::size_t k = 0; k < blocks.size(); ++k) {
    const Segments columns = place(*blocks[k]), rows = place(turned[k]);
    Matrix<G>& matrix = *matrices[k];
    if (blocks[k]->dense()) {
      matrix.own = columns.value;
      matrix.stride = matrix.rows;
    } else {
      matrix.values = blocks[k]->stored();
      matrix.by_column = columns;
      matrix.by_row = rows;
    }
    blocks[k]->index = {};
    blocks[k]->value = {};
  }
  up.upload(machine);
}

}  // namespace pathcond::cuda
