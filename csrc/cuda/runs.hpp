#pragma once

#include <cstdint>

#include "core/hash.hpp"
#include "core/panel_layout.hpp"
#include "cuda/sort_rows.hpp"

/// Runs of equal rows, once rows are sorted: what the graph of neurons is, and the sum of every
/// run. A run may go on over any number of tiles.
namespace pathcond::cuda {

inline constexpr int kRunTile = 2048;

/// The first row of every run, for whoever looks at rows one by one.
template <class G>
PATHCOND_KERNEL bool begins_run(const Rows<G>& rows, std::int64_t k) {
  return k == 0 || !(rows.ends[k] == rows.ends[k - 1]);
}

/// What there is of one neuron.
struct NeuronCensus {
  std::uint64_t twin[2];        ///< see `TwinKey`
  std::uint64_t left, entered;  ///< rows that leave it, or enter it
};

struct RunCensus {
  std::uint64_t runs, pairs;
};

/// Counts runs, and tells every neuron what it is linked to. Its rows from `first` to before `end`
/// add end, and take first away: nobody has to know both.
template <class G>
struct CountRunsKernel {
  struct Shared {};

  Rows<G> rows;
  NeuronCensus* neurons;
  RunCensus* census;
  std::int64_t* begun;  ///< runs that begin in every tile

  template <class Lane>
  PATHCOND_KERNEL void operator()(const Lane& lane, Shared&) const {
    const std::int64_t begin = lane.block() * kRunTile;
    const int n = entries_of_tile(lane.block(), kRunTile, rows.size);
    const auto read = [&](int i) {
      return Neighbours{rows.ends[begin + i], begin + i > 0 ? rows.ends[begin + i - 1] : Ends{}};
    };
    const auto use = [&](int i, const Neighbours& here, Found& found) {
      const std::int64_t k = begin + i;
      if (k == rows.size - 1) turn(lane, here.own, Ends{}, rows.size);
      if (k > 0 && here.own == here.before) return;
      turn(lane, here.before, here.own, k);
      link(lane, here.own);
      ++found.runs;
      found.pairs += here.own.are_pair();
    };
    const Found found = lane.fold(n, Found{}, read, use);
    lane.for_each(1, [&](int) {
      begun[lane.block()] = static_cast<std::int64_t>(found.runs);
      lane.add(census->runs, found.runs);
      lane.add(census->pairs, found.pairs);
    });
  }

 private:
  struct Neighbours {
    Ends own, before;
  };
  struct Found {
    std::uint64_t runs = 0, pairs = 0;
    PATHCOND_KERNEL void join(const Found& other) {
      runs += other.runs;
      pairs += other.pairs;
    }
  };

  /// Row k is the first after those with other ends.
  template <class Lane>
  PATHCOND_KERNEL void turn(const Lane& lane, const Ends& before, const Ends& after,
                            std::int64_t k) const {
    const auto end = static_cast<std::uint64_t>(k);
    if (before.left != after.left) {
      if (before.left >= 0) lane.add(neurons[before.left].left, end);
      if (after.left >= 0) lane.add(neurons[after.left].left, -end);
    }
    if (before.entered != after.entered) {
      if (before.entered >= 0) lane.add(neurons[before.entered].entered, end);
      if (after.entered >= 0) lane.add(neurons[after.entered].entered, -end);
    }
  }
  template <class Lane>
  PATHCOND_KERNEL void link(const Lane& lane, const Ends& ends) const {
    if (ends.left >= 0) lane.add(neurons[ends.left].twin[0], name(ends.entered));
    if (ends.entered >= 0) lane.add(neurons[ends.entered].twin[1], name(ends.left));
  }
  PATHCOND_KERNEL static std::uint64_t name(std::int32_t neuron) {
    return neuron < 0 ? 1 : hash_bits(static_cast<std::uint64_t>(neuron));
  }
};

/// Marks which groups of twins leave to which: [entered][left]. The first neurons of two groups
/// have a run exactly where all of them have.
template <class G>
struct LinkGroupsKernel {
  struct Shared {};

  Rows<G> rows;
  const Place* place;  ///< of every neuron
  std::int32_t groups;
  std::int64_t* table;

  template <class Lane>
  PATHCOND_KERNEL void operator()(const Lane& lane, Shared&) const {
    const std::int64_t begin = lane.block() * kRunTile;
    lane.for_each(entries_of_tile(lane.block(), kRunTile, rows.size), [&](int i) {
      const Ends ends = rows.ends[begin + i];
      if (!ends.are_pair() || !begins_run(rows, begin + i)) return;
      const Place from = place[ends.left], to = place[ends.entered];
      if (from.neuron != 0 || to.neuron != 0) return;
      table[std::int64_t{to.group} * groups + from.group] = 1;
    });
  }
};

/// What a tile knows of the runs that go beyond it.
struct TileRuns {
  double first;  ///< sum of the rows before the first run that begins here
  double last;   ///< sum of the last run that does, if it goes on
  bool begins;   ///< whether any does
};

/// The sum of every run, times `scale`, to where `Where` has it; `TileRuns` of the others.
template <class G, class Where>
struct SumRunsKernel {
  static constexpr int kOwn = kRunTile / kThreads;  ///< rows of a thread
  struct Shared {
    double weight[kThreads * (kOwn + 1)];  ///< those of neighbours lie in different banks
    bool begins[kRunTile];
    double first[kThreads], last[kThreads];
    std::int64_t begun[2][kThreads];
  };

  Rows<G> rows;
  double scale;
  Where where;
  TileRuns* tiles;
  Seen* seen;  ///< of every tile

  template <class Lane>
  PATHCOND_KERNEL void operator()(const Lane& lane, Shared& shared) const {
    const std::int64_t begin = lane.block() * kRunTile;
    const int n = entries_of_tile(lane.block(), kRunTile, rows.size);
    lane.for_each_read(
        n,
        [&](int i) {
          return Read{static_cast<double>(rows.g[begin + i]), begins_run(rows, begin + i)};
        },
        [&](int i, const Read& row) {
          shared.weight[i + i / kOwn] = row.g * scale;
          shared.begins[i] = row.begins;
        });
    lane.for_each(kThreads, [&](int t) {
      std::int64_t begun = 0;
      for_own(t, n, [&](int i) { begun += shared.begins[i]; });
      shared.begun[0][t] = begun;
    });
    running_sums(lane, shared.begun);
    const Seen inside = lane.fold_threads(Seen{}, [&](int t, Seen& all) {
      double sum = 0;
      std::int64_t run = runs_before(shared, t);
      bool any = false;
      for_own(t, n, [&](int i) {
        if (shared.begins[i]) {
          if (any) give(begin + i - 1, run - 1, sum, all);
          if (!any) shared.first[t] = sum;
          any = true;
          sum = 0;
          ++run;
        }
        sum += shared.weight[i + i / kOwn];
      });
      (any ? shared.last : shared.first)[t] = sum;
    });
    // Every thread in which a run begins goes through those after it that do nothing but go on.
    const Seen across = lane.fold_threads(Seen{}, [&](int t, Seen& all) {
      const bool any = begins_in(shared, t);
      if (!any && t > 0) return;
      TileRuns& tile = tiles[lane.block()];
      if (t == 0) {
        tile.begins = shared.begun[0][kThreads - 1] > 0;
        tile.first = any ? shared.first[0] : gone_on(shared, 0, shared.first[0]).sum;
      }
      if (!any) return;
      const auto [end, sum] = gone_on(shared, t, shared.last[t]);
      const std::int64_t run = runs_before(shared, t + 1) - 1;
      if (end < kThreads)
        give(begin + end * kOwn - 1, run, sum, all);
      else if (begin + n == rows.size)
        give(rows.size - 1, run, sum, all);
      else
        tile.last = sum;
    });
    lane.for_each(1, [&](int) {
      Seen all = inside;
      all.join(across);
      seen[lane.block()] = all;
    });
  }

 private:
  struct Read {
    double g;
    bool begins;
  };
  struct GoneOn {
    int end;  ///< the next thread in which a run begins; kThreads: none
    double sum;
  };

  template <class Visit>
  PATHCOND_KERNEL static void for_own(int t, int n, const Visit& visit) {
    for (int i = t * kOwn; i < (t + 1) * kOwn && i < n; ++i) visit(i);
  }
  PATHCOND_KERNEL static std::int64_t runs_before(const Shared& shared, int t) {
    return t > 0 ? shared.begun[0][t - 1] : 0;
  }
  PATHCOND_KERNEL static bool begins_in(const Shared& shared, int t) {
    return shared.begun[0][t] > runs_before(shared, t);
  }
  PATHCOND_KERNEL static GoneOn gone_on(const Shared& shared, int t, double sum) {
    while (++t < kThreads) {
      sum += shared.first[t];
      if (begins_in(shared, t)) break;
    }
    return {t, sum};
  }
  /// `row`: one of the run; `run`: its number among those of the tile.
  PATHCOND_KERNEL void give(std::int64_t row, std::int64_t run, double sum, Seen& all) const {
    where.give(rows.ends[row], row / kRunTile, run, sum);
    all.see(sum);
  }
};

/// The sums of runs that go beyond the tile in which they begin.
template <class G, class Where>
struct JoinRunsKernel {
  struct Shared {};

  Rows<G> rows;
  Where where;
  const TileRuns* tiles;
  std::int64_t count;  ///< of tiles
  Seen* seen;          ///< of every tile

  template <class Lane>
  PATHCOND_KERNEL void operator()(const Lane& lane, Shared&) const {
    const std::int64_t tile = lane.block();
    Seen all;
    if (tiles[tile].begins && tile + 1 < count) {
      const TileRuns* after = tiles + tile + 1;
      const int n = reached(lane, after, static_cast<int>(count - tile - 1));
      const Sum rest = lane.fold(
          n, Sum{}, [=](int k) { return after[k].first; },
          [](int, double first, Sum& part) { part.sum += first; });
      const double sum = tiles[tile].last + rest.sum;
      all.see(sum);
      lane.for_each(1,
                    [&](int) { where.give_last(rows.ends[(tile + 1) * kRunTile - 1], tile, sum); });
    }
    lane.for_each(1, [&](int) { seen[tile] = all; });
  }

 private:
  /// How many of n tiles a run has rows in, or ends just before.
  template <class Lane>
  PATHCOND_KERNEL static int reached(const Lane& lane, const TileRuns* after, int n) {
    constexpr int kMost = 1 << 20;
    for (int from = 0, size = 1; from < n; from += size, size = size < kMost ? 8 * size : kMost) {
      const Earliest end = lane.fold(
          n - from < size ? n - from : size, Earliest{},
          [=](int k) { return after[from + k].begins; },
          [](int k, bool begins, Earliest& part) {
            if (begins) part.see(k);
          });
      if (end.entry < size) return from + end.entry + 1;
    }
    return n;
  }

  struct Sum {
    double sum = 0;
    PATHCOND_KERNEL void join(const Sum& other) { sum += other.sum; }
  };
};

}  // namespace pathcond::cuda
