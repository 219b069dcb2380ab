#pragma once

#include <cstdint>

#include "cuda/lane.hpp"

/// Sums of all that stands before, of long arrays of whole numbers.
namespace pathcond::cuda {

inline constexpr int kPrefixTile = 2048;

struct PrefixKernel {
  static constexpr int kOwn = kPrefixTile / kThreads;  ///< of a thread
  struct Shared {
    std::int64_t number[kThreads * (kOwn + 1)];  ///< those of neighbours lie in different banks
    std::int64_t sum[2][kThreads];
  };

  std::int64_t* numbers;  ///< become the sums of those before them; unless there is `totals`
  std::int64_t size;
  const std::int64_t* before;  ///< what comes before every tile; null: nothing
  std::int64_t* totals;        ///< of every tile

  template <class Lane>
  PATHCOND_KERNEL void operator()(const Lane& lane, Shared& shared) const {
    std::int64_t* first = numbers + lane.block() * kPrefixTile;
    const int n = entries_of_tile(lane.block(), kPrefixTile, size);
    lane.for_each_read(
        kPrefixTile, [=](int i) { return i < n ? first[i] : 0; },
        [&](int i, std::int64_t number) { shared.number[place(i)] = number; });
    lane.for_each(kThreads, [&](int t) {
      std::int64_t sum = 0;
      for (int i = t * kOwn; i < (t + 1) * kOwn; ++i) sum += shared.number[place(i)];
      shared.sum[0][t] = sum;
    });
    running_sums(lane, shared.sum);
    if (totals) {
      lane.for_each(1, [&](int) { totals[lane.block()] = shared.sum[0][kThreads - 1]; });
      return;
    }
    lane.for_each(kThreads, [&](int t) {
      std::int64_t sum = (before ? before[lane.block()] : 0) + (t > 0 ? shared.sum[0][t - 1] : 0);
      for (int i = t * kOwn; i < (t + 1) * kOwn; ++i) {
        const std::int64_t number = shared.number[place(i)];
        shared.number[place(i)] = sum;
        sum += number;
      }
    });
    lane.for_each(n, [&](int i) { first[i] = shared.number[place(i)]; });
  }

 private:
  PATHCOND_KERNEL static int place(int i) { return i + i / kOwn; }
};

/// Numbers that `sums_before` needs room for.
inline std::int64_t prefix_room(std::int64_t size) {
  const std::int64_t tiles = tiles_of(size, kPrefixTile);
  return tiles > 1 ? tiles + prefix_room(tiles) : 0;
}

/// Every number becomes the sum of those before it.
template <class Machine>
void sums_before(Machine& machine, std::int64_t* numbers, std::int64_t size, std::int64_t* room) {
  const std::int64_t tiles = tiles_of(size, kPrefixTile);
  const bool several = tiles > 1;
  if (several) {
    machine.launch(tiles, PrefixKernel{numbers, size, nullptr, room});
    sums_before(machine, room, tiles, room + tiles);
  }
  machine.launch(tiles, PrefixKernel{numbers, size, several ? room : nullptr, nullptr});
}

}  // namespace pathcond::cuda
