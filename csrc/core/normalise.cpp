#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

#include "core/merge.hpp"

namespace pathcond {

std::optional<double> normalise(double& constant, double& log_scale,
                                const std::vector<std::vector<double>*>& weights) {
  double smallest = std::numeric_limits<double>::infinity(), largest = 0;
  const auto look = [&](double value) {
    largest = std::max(largest, value);
    smallest = std::min(smallest, value > 0 ? value : smallest);
  };
  look(constant);
  for (const auto* values : weights)
    for (const double value : *values) look(value);
  // Leaves room for the e^(+-u) of level sweeps.
  constexpr int kLargestSpread = 600;
  const int exponent = std::ilogb(largest);
  if (exponent - std::ilogb(smallest) > kLargestSpread) return std::nullopt;
  const double scale = std::ldexp(1.0, -exponent);
  constant *= scale;
  for (auto* values : weights)
    for (double& value : *values) value *= scale;
  log_scale += exponent * std::numbers::ln2;
  return scale;
}

}  // namespace pathcond
