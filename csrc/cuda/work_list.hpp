#pragma once

#include <cstdint>
#include <vector>

#include "cuda/lane.hpp"

/// One launch serves a list of entries of any size: each is a run of tiles, one block of threads
/// per tile. An entry has `tiles` and `first_tile`.
namespace pathcond::cuda {

/// Numbers the tiles of all entries; returns how many there are.
template <class Entry>
std::int64_t number_tiles(std::vector<Entry>& list) {
  std::int64_t tiles = 0;
  for (Entry& entry : list) {
    entry.first_tile = tiles;
    tiles += entry.tiles;
  }
  return tiles;
}

/// The entry that a tile belongs to.
template <class Entry>
PATHCOND_KERNEL const Entry& entry_of(const Entry* list, int count, std::int64_t tile) {
  int low = 0, high = count;
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    (list[middle].first_tile <= tile ? low : high) = middle;
  }
  return list[low];
}

}  // namespace pathcond::cuda
