#pragma once

#include <cmath>
#include <cstdint>

#include "core/coarse_step.hpp"
#include "cuda/sweep_steps.hpp"
#include "cuda/work_list.hpp"

/// What begins and ends a sweep on a device. Where not all steps have been taken, nothing moves any
/// more: the host goes on from there.
namespace pathcond::cuda {

inline constexpr int kSweepTile = 2048;  ///< neurons, or half-sums

/// Keeps u as it is, and begins to count steps.
struct BeginSweepKernel {
  struct Shared {};

  const double* u;
  double* before;
  std::int64_t neurons;
  SweepProgress* progress;

  template <class Lane>
  PATHCOND_KERNEL void operator()(const Lane& lane, Shared&) const {
    const double* from = u + lane.block() * kSweepTile;
    double* to = before + lane.block() * kSweepTile;
    lane.for_each_read(
        entries_of_tile(lane.block(), kSweepTile, neurons), [=](int i) { return from[i]; },
        [=](int i, double value) { to[i] = value; });
    if (lane.block() == 0) lane.for_each(1, [&](int) { *progress = {progress->total, 0, 0, 0}; });
  }
};

struct Total {
  double sum = 0;
  PATHCOND_KERNEL void join(const Total& other) { sum += other.sum; }
};

/// A sum of weights over a group or a block, as an inner product; one block of threads each.
struct InnerProduct {
  const double *a, *b;
  std::int64_t size;
};

struct InnerProductKernel {
  struct Shared {};

  const InnerProduct* products;
  double* results;

  template <class Lane>
  PATHCOND_KERNEL void operator()(const Lane& lane, Shared&) const {
    const InnerProduct product = products[lane.block()];
    const Total all = lane.fold(
        static_cast<int>(product.size), Total{}, [=](int i) { return product.a[i] * product.b[i]; },
        [](int, double term, Total& part) { part.sum += term; });
    lane.for_each(1, [&](int) { results[lane.block()] = all.sum; });
  }
};

/// The sum of all weights: of every group what only leaves it, of every group what only enters it,
/// of every block.
struct TotalKernel {
  struct Shared {};

  const double* sums;
  int count;
  const double* constant;
  std::int64_t steps;  ///< of the plan
  SweepProgress* progress;

  template <class Lane>
  PATHCOND_KERNEL void operator()(const Lane& lane, Shared&) const {
    if (progress->steps != steps) return;
    const Total all = lane.fold(
        count, Total{}, [this](int i) { return sums[i]; },
        [](int, double term, Total& part) { part.sum += term; });
    lane.for_each(1, [&](int) { progress->total = *constant + all.sum; });
  }
};

/// The coarse step, from the same sums; one block of threads.
struct CoarseKernel {
  struct Shared {};

  CoarseTables tables;
  const std::int32_t *group_ptr, *group_list;  ///< of every coarse group
  std::int32_t groups;                         ///< of neurons
  const double* sums;
  const double *constant, *share;
  CoarseRoom room;
  double *leave, *enter;  ///< of coarse groups, as the next two
  double *shift, *grow;   ///< grow = e^shift
  std::int64_t steps;     ///< of the plan
  SweepProgress* progress;

  template <class Lane>
  PATHCOND_KERNEL void operator()(const Lane& lane, Shared&) const {
    if (progress->steps != steps) return;
    lane.for_each(tables.groups(), [this](int c) {
      double leaving = 0, entering = 0;
      for (auto k = group_ptr[c]; k < group_ptr[c + 1]; ++k) {
        leaving += sums[group_list[k]];
        entering += sums[groups + group_list[k]];
      }
      leave[c] = leaving;
      enter[c] = entering;
    });
    const CoarseWeights weights{*constant, leave, enter, share, sums + 2 * groups};
    const CoarseMinimum minimum = minimise(lane, tables, weights, room);
    lane.for_each(tables.groups(), [&](int c) {
      shift[c] = minimum.shift[c];
      grow[c] = std::exp(minimum.shift[c]);
    });
    lane.for_each(1, [&](int) { progress->total = minimum.value.total; });
  }
};

/// What moves with a coarse group: neurons, or half-sums that are multiples of its e^u or e^-u.
struct Moved {
  enum class Kind : std::int32_t { neurons, grows, shrinks };

  Kind kind;
  std::int32_t coarse;
  std::int64_t first, size;
  std::int64_t tiles, first_tile;
};

/// `BlockState::shift`.
struct ShiftKernel {
  struct Shared {};

  const Moved* list;
  int count;
  const double *shift, *grow;
  double *u, *x, *y, *half;
  std::int64_t steps;  ///< of the plan
  const SweepProgress* progress;

  template <class Lane>
  PATHCOND_KERNEL void operator()(const Lane& lane, Shared&) const {
    if (progress->steps != steps) return;
    const Moved& moved = entry_of(list, count, lane.block());
    const std::int64_t tile = lane.block() - moved.first_tile;
    const std::int64_t first = moved.first + tile * kSweepTile;
    const int n = entries_of_tile(tile, kSweepTile, moved.size);
    const double by = shift[moved.coarse], factor = grow[moved.coarse];
    if (moved.kind == Moved::Kind::neurons)
      lane.for_each(n, [=, this](int i) {
        u[first + i] += by;
        x[first + i] *= factor;
        y[first + i] = 1 / x[first + i];
      });
    else if (moved.kind == Moved::Kind::grows)
      lane.for_each(n, [=, this](int i) { half[first + i] *= factor; });
    else
      lane.for_each(n, [=, this](int i) { half[first + i] /= factor; });
  }
};

/// What `Swept` tells of the point.
struct SweepEnd {
  double linear = 0, size = 0, farthest = 0, largest = 0;

  PATHCOND_KERNEL void join(const SweepEnd& other) {
    linear += other.linear;
    size += other.size;
    farthest = larger(farthest, other.farthest);
    largest = larger(largest, other.largest);
  }
};

struct MeasureKernel {
  struct Shared {};

  const double *u, *base, *degree;
  double rows;  ///< p
  std::int64_t neurons;
  SweepEnd* parts;  ///< of every tile

  template <class Lane>
  PATHCOND_KERNEL void operator()(const Lane& lane, Shared&) const {
    const std::int64_t first = lane.block() * kSweepTile;
    const auto read = [=, this](int i) {
      const double here = u[first + i], term = degree[first + i] * here / rows;
      return SweepEnd{term, std::abs(term), std::abs(here - base[first + i]), std::abs(here)};
    };
    const SweepEnd all =
        lane.fold(entries_of_tile(lane.block(), kSweepTile, neurons), SweepEnd{}, read,
                  [](int, const SweepEnd& own, SweepEnd& part) { part.join(own); });
    lane.for_each(1, [&](int) { parts[lane.block()] = all; });
  }
};

struct JoinEndKernel {
  struct Shared {};

  const SweepEnd* parts;
  int count;
  SweepEnd* end;

  template <class Lane>
  PATHCOND_KERNEL void operator()(const Lane& lane, Shared&) const {
    const SweepEnd all = lane.fold(
        count, SweepEnd{}, [this](int i) { return parts[i]; },
        [](int, const SweepEnd& own, SweepEnd& part) { part.join(own); });
    lane.for_each(1, [&](int) { *end = all; });
  }
};

}  // namespace pathcond::cuda
