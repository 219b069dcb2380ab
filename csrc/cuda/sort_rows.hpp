#pragma once

#include <bit>
#include <cstdint>
#include <utility>

#include "cuda/ends.hpp"
#include "cuda/entries.hpp"
#include "cuda/prefix.hpp"

/// Rows with g > 0, in ascending order of `Ends::rank`: a radix sort from the lowest digit to the
/// highest, of which every pass keeps the order of equal digits. Rows of one rank thus stand in the
/// order of B, whatever the schedule, and so are their sums taken.
namespace pathcond::cuda {

inline constexpr int kSortTile = 4096;
inline constexpr int kDigitBits = 6;
inline constexpr int kDigits = 1 << kDigitBits;

/// Rows, and apart from them their g.
template <class G>
struct Rows {
  const Ends* ends;
  const G* g;
  std::int64_t size;

  PATHCOND_KERNEL Row<G> operator[](std::int64_t k) const { return {ends[k], g[k]}; }
};

/// The digits of one tile, each thread with a run of rows of its own.
struct DigitTile {
  static constexpr int kRuns = 128;
  static constexpr int kRun = kSortTile / kRuns;

  std::uint8_t digit[kSortTile];  ///< kDigits: the row leaves the problem
  std::uint16_t count[kDigits * kRuns * 17 / 16];

  /// Of the rows of a run with a digit. Digits lie one after the other, with gaps: the threads of a
  /// pass over all counts read different banks.
  PATHCOND_KERNEL std::uint16_t& of(int digit_, int run) { return at(digit_ * kRuns + run); }
  PATHCOND_KERNEL std::uint16_t& at(int k) { return count[k + k / 32 * 2]; }

  template <class Lane, class G>
  PATHCOND_KERNEL void read(const Lane& lane, const Rows<G>& rows, std::uint64_t neurons,
                            int shift) {
    const std::int64_t begin = lane.block() * kSortTile;
    const int n = entries_of_tile(lane.block(), kSortTile, rows.size);
    const auto digit_of = [=](const Ends& ends) {
      return static_cast<std::uint8_t>((ends.rank(neurons) >> shift) % kDigits);
    };
    if (shift > 0) {  // what leaves the problem has left
      lane.for_each_read(
          n, [=](int i) { return rows.ends[begin + i]; },
          [=, this](int i, const Ends& ends) { digit[i] = digit_of(ends); });
    } else {
      lane.for_each_read(
          n, [=](int i) { return rows[begin + i]; },
          [=, this](int i, const Row<G>& row) {
            digit[i] = is_positive(static_cast<double>(row.g)) ? digit_of(row.ends) : kDigits;
          });
    }
    lane.for_each(kDigits * kRuns, [this](int k) { at(k) = 0; });
    lane.for_each(kRuns,
                  [=, this](int run) { for_run(run, n, [&](int i) { ++of(digit[i], run); }); });
  }

  /// Calls visit(i) for the rows of a run that stay in the problem.
  template <class Visit>
  PATHCOND_KERNEL void for_run(int run, int n, const Visit& visit) {
    for (int i = run * kRun; i < (run + 1) * kRun && i < n; ++i)
      if (digit[i] < kDigits) visit(i);
  }
};

/// How many rows of every tile have each digit: at [digit][tile].
template <class G>
struct CountDigitsKernel {
  struct Shared {
    DigitTile tile;
  };

  Rows<G> rows;
  std::uint64_t neurons;
  int shift;
  std::int64_t* counts;
  std::int64_t tiles;

  template <class Lane>
  PATHCOND_KERNEL void operator()(const Lane& lane, Shared& shared) const {
    DigitTile& tile = shared.tile;
    tile.read(lane, rows, neurons, shift);
    lane.for_each(kDigits, [&](int d) {
      std::int64_t sum = 0;
      for (int run = 0; run < DigitTile::kRuns; ++run) sum += tile.of(d, run);
      counts[d * tiles + lane.block()] = sum;
    });
  }
};

/// Moves every row to its place. The rows of a tile are written in the order of their digits, where
/// neighbours have neighbouring places.
template <class G>
struct MoveRowsKernel {
  struct Shared {
    DigitTile tile;
    std::uint16_t order[kSortTile];
    int sum[2][kThreads];
    int start[kDigits];
  };

  Rows<G> rows;
  std::uint64_t neurons;
  int shift;
  const std::int64_t* before;  ///< `counts` of the others, each being the sum of those before it
  std::int64_t tiles;
  Ends* ends;
  G* g;

  template <class Lane>
  PATHCOND_KERNEL void operator()(const Lane& lane, Shared& shared) const {
    constexpr int kOwn = kDigits * DigitTile::kRuns / kThreads;  // counts of a thread
    const std::int64_t begin = lane.block() * kSortTile;
    const int n = entries_of_tile(lane.block(), kSortTile, rows.size);
    DigitTile& tile = shared.tile;
    tile.read(lane, rows, neurons, shift);
    lane.for_each(kThreads, [&](int t) {
      int sum = 0;
      for (int k = t * kOwn; k < (t + 1) * kOwn; ++k) sum += tile.at(k);
      shared.sum[0][t] = sum;
    });
    running_sums(lane, shared.sum);
    lane.for_each(kThreads, [&](int t) {
      int sum = t > 0 ? shared.sum[0][t - 1] : 0;
      for (int k = t * kOwn; k < (t + 1) * kOwn; ++k)
        sum += std::exchange(tile.at(k), static_cast<std::uint16_t>(sum));
    });
    lane.for_each(kDigits, [&](int d) { shared.start[d] = tile.of(d, 0); });
    lane.for_each(DigitTile::kRuns, [&](int run) {
      tile.for_run(run, n, [&](int i) {
        shared.order[tile.of(tile.digit[i], run)++] = static_cast<std::uint16_t>(i);
      });
    });
    lane.for_each_read(
        shared.sum[0][kThreads - 1], [&](int k) { return rows[begin + shared.order[k]]; },
        [&](int k, const Row<G>& row) {
          const int d = tile.digit[shared.order[k]];
          const std::int64_t to = before[d * tiles + lane.block()] + k - shared.start[d];
          ends[to] = row.ends;
          g[to] = row.g;
        });
  }
};

/// Memory of a sort.
template <class G>
struct SortMemory {
  Ends* ends[2];  ///< the first holds the rows, in the order of B
  G* g[2];
  std::int64_t *counts, *room;  ///< see `count_room`
};

inline std::int64_t sort_counts(std::int64_t size) { return kDigits * tiles_of(size, kSortTile); }

/// Sorts `size` rows, of which so many stay in the problem; returns where they are.
template <class Machine, class G>
Rows<G> sort_rows(Machine& machine, const G* g, std::int64_t size, std::int64_t positive,
                  std::int64_t neurons, const SortMemory<G>& memory) {
  const auto H = static_cast<std::uint64_t>(neurons);
  const auto bits = static_cast<int>(std::bit_width((H + 1) * (H + 1) - 1));
  Rows<G> rows{memory.ends[0], g, size};
  int to = 1;
  for (int shift = 0; shift < bits || shift == 0; shift += kDigitBits, to = 1 - to) {
    const std::int64_t tiles = tiles_of(rows.size, kSortTile);
    machine.launch(tiles, CountDigitsKernel<G>{rows, H, shift, memory.counts, tiles});
    sums_before(machine, memory.counts, kDigits * tiles, memory.room);
    machine.launch(tiles, MoveRowsKernel<G>{rows, H, shift, memory.counts, tiles, memory.ends[to],
                                            memory.g[to]});
    rows = {memory.ends[to], memory.g[to], positive};
  }
  return rows;
}

}  // namespace pathcond::cuda
