#pragma once

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>
#include <vector>

#include "core/objective.hpp"

namespace pathcond {

inline double inner(const std::vector<double>& a, const std::vector<double>& b) {
  return std::inner_product(a.begin(), a.end(), b.begin(), 0.0);
}

/// Exponents change by at most this much in one step: no exponential overflows.
inline constexpr double kLongestStep = 200;

/// Backtracks from point.u + direction until F has decreased enough (Armijo). Where the decrease to
/// be expected is rounding, until the slope along the direction has decreased in size (F is convex,
/// so that it cannot then have increased by more than that rounding), or the gradient has. On
/// success `point` is the new point and `trial` the old one; else `point` is left, and evaluated
/// last.
inline bool line_search(Objective& objective, Point& point, const std::vector<double>& direction,
                        Point& trial) {
  constexpr int kMaxHalvings = 40;
  const double slope = inner(point.gradient, direction);
  double length = std::min(1.0, kLongestStep / objective.exponent_change(direction));
  for (int halving = 0; halving < kMaxHalvings && slope < 0; ++halving, length /= 2) {
    for (std::size_t k = 0; k < trial.u.size(); ++k)
      trial.u[k] = point.u[k] + length * direction[k];
    objective.evaluate(trial);
    const bool accepted = -slope * length <= point.rounding
                              ? std::abs(inner(trial.gradient, direction)) < -slope ||
                                    max_norm(trial.gradient) < max_norm(point.gradient)
                              : trial.value <= point.value + 1e-4 * length * slope;
    if (accepted) {
      std::swap(point, trial);
      return true;
    }
  }
  objective.evaluate(point);
  return false;
}

}  // namespace pathcond
