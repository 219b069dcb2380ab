#pragma once

#include <cstdint>

#include "core/accumulate.hpp"
#include "cuda/entries.hpp"
#include "cuda/lane.hpp"
#include "cuda/work_list.hpp"

/// Sums over some axes of an array that is read once, coalesced, in tiles: the entries of a tile
/// are staged in memory shared by its threads, whatever the order in which they are added.
namespace pathcond::cuda {

/// What one tile works on at once.
inline constexpr int kTileEntries = 4096;
inline constexpr int kTileSums = 512;
inline constexpr int kOuterAxes = 3;

/// to[...] = sum of from[...] over the axes with `to` 0. Of the axes, one that is kept and one that
/// is summed are cut into tiles; see `plan`.
template <class T>
struct Collapse {
  const T* from = nullptr;
  double* to = nullptr;  ///< pieces x outputs
  Axis kept{1, 0, 0}, summed{1, 0, 0};
  Axis outer[kOuterAxes] = {{1, 0, 0}, {1, 0, 0}, {1, 0, 0}};
  bool kept_first = false;   ///< the kept axis is the innermost in memory
  bool add = false;          ///< to what is there
  std::int32_t count = 1;    ///< sums of a tile
  std::int32_t width = 1;    ///< summed entries of each that are staged at once
  std::int32_t parts = 1;    ///< threads per sum
  std::int64_t range = 1;    ///< summed entries of a piece
  std::int64_t pieces = 1;   ///< into which the summed axis is cut
  std::int64_t outputs = 1;  ///< sums in all
  std::int64_t tiles = 1;
  std::int64_t first_tile = 0;
};

template <class T, class Read>
struct CollapseKernel {
  struct Shared {
    double entry[kTileEntries];
    double sum[kTileSums];
  };

  const Collapse<T>* tasks;
  int count;
  Seen* seen;  ///< of every tile

  template <class Lane>
  PATHCOND_KERNEL void operator()(const Lane& lane, Shared& shared) const {
    const Collapse<T>& task = entry_of(tasks, count, lane.block());
    std::int64_t rest = lane.block() - task.first_tile;
    const auto take = [&rest](std::int64_t size) {
      const std::int64_t at = rest % size;
      rest /= size;
      return at;
    };
    const std::int64_t piece = take(task.pieces);
    const std::int64_t first = take((task.kept.size + task.count - 1) / task.count) * task.count;
    const T* from = task.from + first * task.kept.stride;
    double* to = task.to + piece * task.outputs + first * task.kept.to;
    std::int64_t repeats = 1;
    for (const Axis& axis : task.outer) {
      if (axis.to == 0) {
        repeats *= axis.size;
        continue;
      }
      const std::int64_t at = take(axis.size);
      from += at * axis.stride;
      to += at * axis.to;
    }
    const std::int64_t sums_left = task.kept.size - first;
    const int sums = sums_left < task.count ? static_cast<int>(sums_left) : task.count;
    const std::int64_t begin = piece * task.range;
    const std::int64_t end =
        begin + task.range < task.summed.size ? begin + task.range : task.summed.size;

    lane.for_each(sums * task.parts, [&](int k) { shared.sum[k] = 0; });
    Seen all;
    for (std::int64_t r = 0; r < repeats; ++r) {
      const T* base = from + repeat_offset(task, r);
      for (std::int64_t s = begin; s < end; s += task.width) {
        const std::int64_t left = end - s;
        const int width = left < task.width ? static_cast<int>(left) : task.width;
        all.join(stage(lane, shared, task, base + s * task.summed.stride, sums, width));
        add_up(lane, shared, task, sums, width);
      }
    }
    lane.for_each(sums, [&](int j) {
      double sum = 0;
      for (int q = 0; q < task.parts; ++q) sum += shared.sum[q * sums + j];
      double& result = to[j * task.kept.to];
      result = task.add ? result + sum : sum;
    });
    if constexpr (Read::looks) lane.for_each(1, [&](int) { seen[lane.block()] = all; });
  }

 private:
  PATHCOND_KERNEL static std::int64_t repeat_offset(const Collapse<T>& task, std::int64_t repeat) {
    std::int64_t offset = 0;
    for (const Axis& axis : task.outer) {
      if (axis.to != 0) continue;
      offset += repeat % axis.size * axis.stride;
      repeat /= axis.size;
    }
    return offset;
  }

  /// Rows of an odd length: entries of one column lie in different banks.
  PATHCOND_KERNEL static int padded(int width) { return width | 1; }

  template <class Lane>
  PATHCOND_KERNEL static Seen stage(const Lane& lane, Shared& shared, const Collapse<T>& task,
                                    const T* base, int sums, int width) {
    const std::int64_t kept = task.kept.stride, summed = task.summed.stride;
    const bool kept_first = task.kept_first;
    const int inner = kept_first ? sums : width;
    const float inverse = 1.0f / static_cast<float>(inner);
    const int row = kept_first ? sums : padded(width);
    const std::int64_t fast = kept_first ? kept : summed, slow = kept_first ? summed : kept;
    const auto read = [=](int flat) {
      const auto [i, j] = Cell::of(flat, inner, inverse);
      return base[i * slow + j * fast];
    };
    const auto use = [=, entry = shared.entry](int flat, T value, Seen& all) {
      const auto [i, j] = Cell::of(flat, inner, inverse);
      entry[i * row + j] = Read::read(static_cast<double>(value), all);
    };
    if constexpr (Read::looks) return lane.fold(sums * width, Seen{}, read, use);
    lane.for_each_read(sums * width, read, [=](int flat, T value) {
      Seen unused;
      use(flat, value, unused);
    });
    return {};
  }

  /// Thread q of a sum adds entries q, q + parts, ...; neighbouring threads read different banks.
  template <class Lane>
  PATHCOND_KERNEL static void add_up(const Lane& lane, Shared& shared, const Collapse<T>& task,
                                     int sums, int width) {
    const int row = padded(width), parts = task.parts;
    const bool kept_first = task.kept_first;
    const int step = kept_first ? sums : 1;
    lane.for_each(sums * parts, [=, &shared](int k) {
      const int j = kept_first ? k % sums : k / parts;
      const int q = kept_first ? k / sums : k % parts;
      const double* entry = shared.entry + (kept_first ? j : j * row);
      double sum = 0;
      for (int i = q; i < width; i += parts) sum += entry[i * step];
      shared.sum[q * sums + j] += sum;
    });
  }
};

}  // namespace pathcond::cuda
