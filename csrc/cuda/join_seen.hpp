#pragma once

#include "cuda/entries.hpp"
#include "cuda/work_list.hpp"

namespace pathcond::cuda {

/// Joins what the tiles of every entry of a work list have seen, one block of threads per entry.
template <class Entry>
struct JoinSeenKernel {
  struct Shared {};

  const Entry* list;
  const Seen* of_tiles;
  Seen* of_entries;

  template <class Lane>
  PATHCOND_KERNEL void operator()(const Lane& lane, Shared&) const {
    const Entry& entry = list[lane.block()];
    const Seen* first = of_tiles + entry.first_tile;
    const Seen all = lane.fold(
        static_cast<int>(entry.tiles), Seen{}, [=](int k) { return first[k]; },
        [](int, const Seen& seen, Seen& part) { part.join(seen); });
    lane.for_each(1, [&](int) { of_entries[lane.block()] = all; });
  }
};

}  // namespace pathcond::cuda
