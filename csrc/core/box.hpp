#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "core/host_device.hpp"
#include "core/objective.hpp"

namespace pathcond {

/// The points allowed: |u_h| <= bound for every neuron.
struct Box {
  double bound = std::numeric_limits<double>::infinity();

  /// 1 / max_scale <= exp(u_h / 2) <= max_scale, whoever computes the exponential.
  static Box of(double max_scale) { return {2 * std::log(max_scale) * (1 - 1e-15)}; }

  PATHCOND_HOST_DEVICE double clip(double u) const { return std::clamp(u, -bound, bound); }

  void clip(std::vector<double>& u) const {
    for (double& value : u) value = clip(value);
  }

  /// A slope of F at u; 0 if following it down leads out of the box at once.
  PATHCOND_HOST_DEVICE double projected(double u, double slope) const {
    return (u >= bound && slope < 0) || (u <= -bound && slope > 0) ? 0 : slope;
  }

  /// Largest |projected slope| at an evaluated point; without bounds max |dF/du| / p.
  double stationarity(const Point& point) const {
    double largest = 0;
    for (std::size_t k = 0; k < point.u.size(); ++k) {
      const double slope = std::abs(projected(point.u[k], point.gradient[k]));
      if (std::isnan(slope)) return slope;
      largest = std::max(largest, slope);
    }
    return largest;
  }
};

}  // namespace pathcond
