#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "cuda/lane.hpp"
#include "cuda/memory.hpp"

namespace pathcond::cuda {

/// What is to be added to an entry of a matrix.
struct CellSum {
  double* to;
  double value;
};

inline constexpr int kCellTile = 4096;

/// No two of them for the same entry.
struct AddCellsKernel {
  struct Shared {};

  const CellSum* sums;
  std::int64_t size;

  template <class Lane>
  PATHCOND_KERNEL void operator()(const Lane& lane, Shared&) const {
    const CellSum* first = sums + lane.block() * kCellTile;
    lane.for_each(entries_of_tile(lane.block(), kCellTile, size),
                  [=](int i) { *first[i].to += first[i].value; });
  }
};

template <class Machine>
void add_cells(Machine& machine, const std::vector<CellSum>& sums) {
  if (sums.empty()) return;
  Mirrored up;
  const auto slot = up.reserve<CellSum>(std::ssize(sums));
  up.place(machine.device(up.bytes()), machine.host(up.bytes()));
  std::copy(sums.begin(), sums.end(), up.host(slot));
  up.upload(machine);
  machine.launch(tiles_of(std::ssize(sums), kCellTile),
                 AddCellsKernel{up.device(slot), std::ssize(sums)});
}

}  // namespace pathcond::cuda
