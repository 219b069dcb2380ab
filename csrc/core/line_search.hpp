#pragma once

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>
#include <vector>

#include "core/box.hpp"
#include "core/objective.hpp"

namespace pathcond {

inline double inner(const std::vector<double>& a, const std::vector<double>& b) {
  return std::inner_product(a.begin(), a.end(), b.begin(), 0.0);
}

/// Exponents change by at most this much in one step: no exponential overflows.
inline constexpr double kLongestStep = 200;

/// Backtracks from point.u + direction, cut off at the edges of the box, until F has decreased
/// enough (Armijo). Where the decrease to be expected is rounding, until the slope along the step
/// has decreased in size (F is convex, so that it cannot then have increased by more than that
/// rounding), or the stationarity has. On success `point` is the new point and `trial` the old one;
/// else `point` is left, and evaluated last.
inline bool line_search(Objective& objective, const Box& box, Point& point,
                        const std::vector<double>& direction, Point& trial) {
  constexpr int kMaxHalvings = 40;
  std::vector<double> step(direction.size());
  double length = std::min(1.0, kLongestStep / objective.exponent_change(direction));
  for (int halving = 0; halving < kMaxHalvings; ++halving, length /= 2) {
    for (std::size_t k = 0; k < step.size(); ++k) {
      const double end = point.u[k] + length * direction[k];
      trial.u[k] = box.clip(end);
      step[k] = trial.u[k] == end ? length * direction[k] : trial.u[k] - point.u[k];
    }
    const double slope = inner(point.gradient, step);
    if (!(slope < 0)) break;
    objective.evaluate(trial);
    const bool accepted = -slope <= point.rounding
                              ? std::abs(inner(trial.gradient, step)) < -slope ||
                                    box.stationarity(trial) < box.stationarity(point)
                              : trial.value <= point.value + 1e-4 * slope;
    if (accepted) {
      std::swap(point, trial);
      return true;
    }
  }
  objective.evaluate(point);
  return false;
}

}  // namespace pathcond
