#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "core/entry.hpp"
#include "cuda/entries.hpp"
#include "cuda/lane.hpp"
#include "cuda/scale_parameters.hpp"
#include "cuda/work_list.hpp"

namespace pathcond::cuda {

inline constexpr int kScaleTile = 4096;  ///< entries, one after the other in memory

/// Where the entries of a tile stand along an axis: a digit of a counter, which carries. Distances
/// are modulo 2^32, since no two numbers of a factor lie as far apart as 2^31.
struct Digit {
  std::int64_t first;  ///< of the tile's first entry
  int left;            ///< steps to the first carry
  int width;           ///< and from one carry to the next, as far as a tile reaches
  float inverse;

  PATHCOND_KERNEL static Digit of(std::int64_t first, std::int64_t size) {
    const auto within = [](std::int64_t n) {
      return static_cast<int>(n < kScaleTile ? n : kScaleTile);
    };
    const int width = within(size);
    return {first, within(size - first), width, 1.0f / static_cast<float>(width)};
  }

  struct Moved {
    int carries;
    std::uint32_t steps;  ///< from the first entry's place
  };
  PATHCOND_KERNEL Moved by(int n) const {
    if (n < left) return {0, static_cast<std::uint32_t>(n)};
    const auto [carries, place] = Cell::of(n - left, width, inverse);
    return {1 + carries, static_cast<std::uint32_t>(place) - static_cast<std::uint32_t>(first)};
  }
};

/// A parameter in the work list of a launch.
struct Scaling {
  ScaledParameter parameter;
  std::int64_t entries;
  std::int64_t tiles, first_tile;
};

struct ScaleKernel {
  struct Shared {
    Digit column, tap;
    const double *first, *second;  ///< of the tile's first entry
  };

  const Scaling* list;
  int count;
  const double* factors;
  Harmed* harmed;  ///< of every parameter; begins as 0

  template <class Lane>
  PATHCOND_KERNEL void operator()(const Lane& lane, Shared& shared) const {
    const Scaling& task = entry_of(list, count, lane.block());
    const std::int64_t tile = lane.block() - task.first_tile;
    place(lane, shared, task.parameter, tile * kScaleTile);
    const int n = entries_of_tile(tile, kScaleTile, task.entries);
    const auto scale = [&]<class T>(T) {
      return scale_tile(lane, shared, task.parameter,
                        static_cast<T*>(task.parameter.entries) + tile * kScaleTile, n);
    };
    Found found;
    switch (task.parameter.dtype) {
      case Dtype::float32:
        found = scale(float{});
        break;
      case Dtype::float64:
        found = scale(double{});
        break;
      case Dtype::bfloat16:
        found = scale(Bfloat16{});
        break;
      case Dtype::float16:
        found = scale(Half{});
        break;
    }
    lane.for_each(1, [&](int) {
      Harmed& all = harmed[&task - list];
      if (found.not_finite > 0) lane.add(all.not_finite, found.not_finite);
      if (found.lost > 0) lane.add(all.lost, found.lost);
    });
  }

 private:
  /// `Harmed` of some entries of a tile.
  struct Found {
    std::uint32_t not_finite = 0, lost = 0;

    PATHCOND_HOST_DEVICE void join(const Found& other) {
      not_finite += other.not_finite;
      lost += other.lost;
    }
  };

  /// A factor from the tile's first entry on.
  struct Steps {
    const double* first;
    std::uint32_t row, column, tap;

    PATHCOND_KERNEL Steps(const double* start, const FactorPlace& place)
        : first(start),
          row(static_cast<std::uint32_t>(place.step[0])),
          column(static_cast<std::uint32_t>(place.step[1])),
          tap(static_cast<std::uint32_t>(place.step[2])) {}
    PATHCOND_KERNEL double at(int rows, std::uint32_t columns, std::uint32_t taps) const {
      const auto distance = static_cast<std::uint32_t>(rows) * row + columns * column + taps * tap;
      return first[static_cast<std::int32_t>(distance)];
    }
  };

  template <class Lane>
  PATHCOND_KERNEL void place(const Lane& lane, Shared& shared, const ScaledParameter& parameter,
                             std::int64_t entry) const {
    lane.for_each(1, [&](int) {
      const auto [rows, columns, taps] = parameter.shape;
      const std::int64_t tap = entry % taps, column = entry / taps % columns;
      const std::int64_t row = entry / taps / columns;
      const auto factor = [&](const FactorPlace& place) {
        return factors + place.first + row * place.step[0] + column * place.step[1] +
               tap * place.step[2];
      };
      shared.column = Digit::of(column, columns);
      shared.tap = Digit::of(tap, taps);
      shared.first = factor(parameter.first);
      shared.second = factor(parameter.second);
    });
  }

  template <class Lane, class T>
  PATHCOND_KERNEL static Found scale_tile(const Lane& lane, const Shared& shared,
                                          const ScaledParameter& parameter, T* entries, int n) {
    const Digit column = shared.column, tap = shared.tap;
    const Steps by_first(shared.first, parameter.first), by_second(shared.second, parameter.second);
    return lane.fold(
        n, Found{}, [=](int i) { return entries[i]; },
        [=](int i, T old, Found& found) {
          const auto along_tap = tap.by(i);
          const auto along_column = column.by(along_tap.carries);
          const auto at = [&](const Steps& factor) {
            return factor.at(along_column.carries, along_column.steps, along_tap.steps);
          };
          const T fresh = scaled_entry(old, at(by_first), at(by_second));
          entries[i] = fresh;
          const Bits<T> bits = magnitude_bits(fresh);
          found.not_finite += bits >= kInfinityBits<T>;
          found.lost += is_lost<T>(magnitude_bits(old), bits);
        });
  }
};

/// One upload, one launch, one download, one wait.
template <class Machine>
std::vector<Harmed> scale_parameters_on(Machine& machine,
                                        const std::vector<ScaledParameter>& parameters,
                                        std::span<const double> factors) {
  std::vector<Scaling> list;
  for (const ScaledParameter& x : parameters) {
    const std::int64_t entries = x.shape[0] * x.shape[1] * x.shape[2];
    list.push_back({x, entries, tiles_of(entries, kScaleTile), 0});
  }
  const std::int64_t tiles = number_tiles(list);
  if (tiles == 0) return std::vector<Harmed>(list.size());

  Mirrored all;
  const auto harmed = all.reserve<Harmed>(std::ssize(list));
  const auto list_slot = all.reserve<Scaling>(std::ssize(list));
  const auto factor_slot = all.reserve<double>(std::ssize(factors));
  all.place(machine.device(all.bytes()), machine.host(all.bytes()));
  std::fill_n(all.host(harmed), list.size(), Harmed{});
  std::copy(list.begin(), list.end(), all.host(list_slot));
  std::copy(factors.begin(), factors.end(), all.host(factor_slot));
  all.upload(machine);
  machine.launch(tiles, ScaleKernel{all.device(list_slot), static_cast<int>(list.size()),
                                    all.device(factor_slot), all.device(harmed)});
  machine.download(all.host(harmed), all.device(harmed), list.size() * sizeof(Harmed));
  machine.wait();
  return {all.host(harmed), all.host(harmed) + list.size()};
}

}  // namespace pathcond::cuda
