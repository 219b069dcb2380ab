#pragma once

#include <cmath>
#include <cstdint>
#include <utility>

#include "core/factor.hpp"
#include "core/step.hpp"

/// The coarse step, by one thread or a block of them, see `SerialLane`: F as a function of one
/// common shift per coarse group, minimised by damped Newton.
namespace pathcond {

/// What does not change from one step to the next.
struct CoarseTables {
  PatternView pattern;  ///< of the groups that are linked
  std::int32_t links, entries;
  const std::int32_t *a, *b;  ///< a link's rows leave group a and enter b, which may be one
  /// Links of every group, 2 * link, + 1 where they enter it; those within it are none.
  const std::int32_t *group_ptr, *group_links;
  const std::int32_t *entry_ptr, *entry_links;  ///< links of every entry of the pattern

  PATHCOND_HOST_DEVICE std::int32_t groups() const { return pattern.size; }
};

/// Sums of weights; of groups and links.
struct CoarseWeights {
  double constant;              ///< empty rows
  const double *leave, *enter;  ///< rows that only leave the group, or only enter it
  const double* share;          ///< d / p
  const double* link;
};

/// F/p at common shifts, and its derivatives: the Hessian is curvature (diagonal) + coupling
/// (off-diagonal, in the pattern) - mean mean^T.
struct CoarseArrays {
  double* shift;
  double *mean, *gradient, *curvature;  ///< of groups
  double* coupling;                     ///< of entries
  double* link;                         ///< weights at the shifts
};

struct CoarseValue {
  double total;      ///< S
  double objective;  ///< log S - share . shift
  double rounding;   ///< of the objective
  double slope;      ///< largest |gradient|; NaN if any is
};

/// What a minimisation works in.
struct CoarseRoom {
  CoarseArrays point, trial;
  double *step, *pivot;
  double *lower, *diagonal;
  double* sides;  ///< 2 x groups

  /// How many numbers it has.
  static std::int64_t size(std::int64_t groups, std::int64_t links, std::int64_t entries) {
    return 2 * (4 * groups + entries + links) + 5 * groups + entries;
  }
  static CoarseRoom in(double* memory, std::int64_t groups, std::int64_t links,
                       std::int64_t entries) {
    const auto take = [&memory](std::int64_t numbers) {
      double* taken = memory;
      memory += numbers;
      return taken;
    };
    const auto arrays = [&] {
      CoarseArrays to;
      for (double** array : {&to.shift, &to.mean, &to.gradient, &to.curvature})
        *array = take(groups);
      to.coupling = take(entries);
      to.link = take(links);
      return to;
    };
    CoarseRoom room;
    room.point = arrays();
    room.trial = arrays();
    for (double** array : {&room.step, &room.pivot, &room.diagonal}) *array = take(groups);
    room.sides = take(2 * groups);
    room.lower = take(entries);
    return room;
  }
};

/// The larger; NaN if one is.
PATHCOND_HOST_DEVICE inline double larger(double a, double b) { return b > a || b != b ? b : a; }

namespace coarse {

struct Sums {
  double total = 0, linear = 0, size = 0;

  PATHCOND_HOST_DEVICE void join(const Sums& other) {
    total += other.total;
    linear += other.linear;
    size += other.size;
  }
};

struct Worst {
  double size = 0;
  PATHCOND_HOST_DEVICE void join(const Worst& other) { size = larger(size, other.size); }
};

/// Of a Newton step.
struct Along {
  double mean = 0, gradient = 0;  ///< mean . A^-1 mean, mean . A^-1 gradient
  PATHCOND_HOST_DEVICE void join(const Along& other) {
    mean += other.mean;
    gradient += other.gradient;
  }
};

struct Length {
  double slope = 0, longest = 0;
  PATHCOND_HOST_DEVICE void join(const Length& other) {
    slope += other.slope;
    longest = larger(longest, other.longest);
  }
};

/// What leaves and enters a group, or a link.
struct Flow {
  double out, in;
};

}  // namespace coarse

/// F/p at to.shift.
template <class Lane>
PATHCOND_KERNEL CoarseValue evaluate(const Lane& lane, const CoarseTables& tables,
                                     const CoarseWeights& from, const CoarseArrays& to) {
  const std::int32_t n = tables.groups();
  const auto flow_of = [&](int i) {
    if (i >= n) {
      const std::int32_t link = i - n;
      const double apart = to.shift[tables.a[link]] - to.shift[tables.b[link]];
      return coarse::Flow{from.link[link] * std::exp(apart), 0};
    }
    return coarse::Flow{from.leave[i] * std::exp(to.shift[i]),
                        from.enter[i] * std::exp(-to.shift[i])};
  };
  const auto add = [&](int i, const coarse::Flow& flow, coarse::Sums& part) {
    part.total += flow.out + flow.in;
    if (i >= n) {
      to.link[i - n] = flow.out;
      return;
    }
    to.mean[i] = flow.out - flow.in;
    to.curvature[i] = flow.out + flow.in;
    const double linear = from.share[i] * to.shift[i];
    part.linear += linear;
    part.size += std::abs(linear);
  };
  const auto sums = lane.fold(n + tables.links, coarse::Sums{}, flow_of, add);
  const double total = from.constant + sums.total;
  const auto slope_of = [&](int i, int, coarse::Worst& part) {
    if (i >= n) {
      const std::int32_t entry = i - n;
      double sum = 0;
      for (auto e = tables.entry_ptr[entry]; e < tables.entry_ptr[entry + 1]; ++e)
        sum -= to.link[tables.entry_links[e]];
      to.coupling[entry] = sum / total;
      return;
    }
    double mean = to.mean[i], curvature = to.curvature[i];
    for (auto e = tables.group_ptr[i]; e < tables.group_ptr[i + 1]; ++e) {
      const double weight = to.link[tables.group_links[e] / 2];
      mean += tables.group_links[e] % 2 == 0 ? weight : -weight;
      curvature += weight;
    }
    to.mean[i] = mean / total;
    to.curvature[i] = curvature / total;
    to.gradient[i] = to.mean[i] - from.share[i];
    part.size = larger(part.size, std::abs(to.gradient[i]));
  };
  const auto worst =
      lane.fold(n + tables.entries, coarse::Worst{}, [](int) { return 0; }, slope_of);
  const double log_total = std::log(total);
  return {total, log_total - sums.linear, rounding_of(std::abs(log_total) + sums.size), worst.size};
}

/// The Newton step from an evaluated point, to room.step, and its slope; `damping` is added to the
/// curvature.
template <class Lane>
PATHCOND_KERNEL coarse::Length newton_step(const Lane& lane, const CoarseTables& tables,
                                           const CoarseArrays& point, double damping,
                                           const CoarseRoom& room) {
  const std::int32_t n = tables.groups();
  const PatternView& pattern = tables.pattern;
  lane.for_each(n + tables.entries, [&](int i) {
    if (i >= n) {
      room.lower[i - n] = point.coupling[i - n];
      return;
    }
    room.diagonal[i] = point.curvature[i] + damping;
    room.sides[i] = point.mean[pattern.order[i]];
    room.sides[n + i] = point.gradient[pattern.order[i]];
  });
  factor(lane, pattern, room.diagonal, room.lower, room.pivot);
  solve_factored<2>(lane, pattern, room.lower, room.pivot, room.sides);
  const auto along = lane.fold(
      n, coarse::Along{}, [&](int i) { return point.mean[pattern.order[i]]; },
      [&](int i, double mean, coarse::Along& part) {
        part.mean += mean * room.sides[i];
        part.gradient += mean * room.sides[n + i];
      });
  const double more = rank_one_weight(1 - along.mean) * along.gradient;
  return lane.fold(
      n, coarse::Length{}, [&](int i) { return room.sides[n + i] + more * room.sides[i]; },
      [&](int i, double step, coarse::Length& part) {
        const std::int32_t group = pattern.order[i];
        room.step[group] = step;
        part.slope += point.gradient[group] * step;
        part.longest = larger(part.longest, std::abs(step));
      });
}

/// Shifts that minimise F, from 0; never worse than 0.
struct CoarseMinimum {
  const double* shift;  ///< in the room
  CoarseValue value;
};

template <class Lane>
PATHCOND_KERNEL CoarseMinimum minimise(const Lane& lane, const CoarseTables& tables,
                                       const CoarseWeights& weights, const CoarseRoom& room) {
  constexpr int kMaxSteps = 25;  // of kLongestStep at most: the shifts stay in range
  constexpr int kMaxHalvings = 20;
  constexpr double kTolerance = 1e-15;  // rounding level of shares, which sum to 1
  constexpr double kLongestStep = 8;    // quadratic models of exp are worthless farther away
  const std::int32_t n = tables.groups();
  CoarseArrays point = room.point, trial = room.trial;
  lane.for_each(n, [&](int i) { point.shift[i] = 0; });
  CoarseValue value = evaluate(lane, tables, weights, point);
  for (int iteration = 0; iteration < kMaxSteps && value.slope > kTolerance; ++iteration) {
    // Groups that carry next to nothing of the total have a slope but no curvature: without this
    // term, which vanishes at the minimum, their step would be rounding noise.
    const double damping = value.slope / kLongestStep;
    const auto step = newton_step(lane, tables, point, damping, room);
    double length = kLongestStep / step.longest;
    if (!(length < 1)) length = 1;
    bool improved = false;
    for (int halving = 0; halving < kMaxHalvings && !improved; ++halving, length /= 2) {
      lane.for_each(n, [&](int i) { trial.shift[i] = point.shift[i] - length * room.step[i]; });
      const CoarseValue next = evaluate(lane, tables, weights, trial);
      improved = step.slope * length <= value.rounding ? next.slope < value.slope
                                                       : next.objective < value.objective;
      if (!improved) continue;
      value = next;
      const CoarseArrays before = point;
      point = trial;
      trial = before;
    }
    if (!improved) break;
  }
  return {point.shift, value};
}

}  // namespace pathcond
