#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>

#if defined(__CUDACC__)
#define PATHCOND_HOST_DEVICE __host__ __device__
#else
#define PATHCOND_HOST_DEVICE
#endif

/// Scalar mathematics shared by every backend. Legend: O, I: what leaves and what enters one
/// neuron (sums of w_i = g_i exp((Bu)_i)); C: the other rows; S = O + I + C; d = #leaving -
/// #entering, p = #rows; t = exp(change of u_h).
namespace pathcond {

/// Minimiser over s = log t of p log(O t + I/t + C) - d s: the positive root of
/// (p-d) O t^2 - d C t - (p+d) I = 0, found in log space so that nothing overflows.
/// Zero when the function is flat or has no minimiser at working precision.
PATHCOND_HOST_DEVICE inline double coordinate_step(double p, double d, double O, double I,
                                                   double C) {
  if (O > 0 && I > 0) {
    const double a = (p - d) * O;
    const double b = (p + d) * I;
    if (!(a > 0 && b > 0)) return 0;
    // sqrt(O) sqrt(I) and not sqrt(O I): the product may underflow.
    const double root = 2 * std::sqrt(a) * std::sqrt(b);
    return 0.5 * (std::log(b) - std::log(a)) + std::asinh(d * C / root);
  }
  double step = 0;
  if (O > 0)
    step = std::log(d * C) - std::log((p - d) * O);
  else if (I > 0)
    step = std::log((p + d) * I) - std::log(-d * C);
  return std::isfinite(step) ? step : 0;
}

/// sqrt(flow^2 + 4 O I) = O t + I/t at the minimum, where flow = d S / p is what O t - I/t must be.
/// Without a flow the product O I is never formed: it may underflow.
PATHCOND_HOST_DEVICE inline double balanced_sum(double flow, double O, double I) {
  return flow == 0 ? 2 * std::sqrt(O) * std::sqrt(I) : std::sqrt(flow * flow + 4 * O * I);
}

/// t at the minimum when the total S is known: O t - I/t = flow, solved without cancellation.
PATHCOND_HOST_DEVICE inline double step_for_total(double flow, double O, double I) {
  if (flow == 0) return std::sqrt(I) / std::sqrt(O);
  const double sum = balanced_sum(flow, O, I);
  return flow > 0 ? (flow + sum) / (2 * O) : 2 * I / (sum - flow);
}

/// Minimiser over s of p log(C + sum_k sums[k] exp(values[k] s)) - d s for any column values: the
/// convex derivative's root by Newton's method inside a bracket. {+1, -2} makes it a cubic in e^s.
/// Zero when the function is flat or has no minimiser.
inline double general_step(double p, double d, double C, std::span<const double> values,
                           std::span<const double> sums) {
  const double share = d / p;
  double lowest = C > 0 ? 0.0 : std::numeric_limits<double>::infinity();
  double highest = C > 0 ? 0.0 : -std::numeric_limits<double>::infinity();
  for (std::size_t k = 0; k < values.size(); ++k) {
    if (!(sums[k] > 0)) continue;
    lowest = std::min(lowest, values[k]);
    highest = std::max(highest, values[k]);
  }
  if (!(lowest < share && share < highest)) return 0;

  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  double low = -kInfinity, high = kInfinity, s = 0, reach = 4;
  for (int iteration = 0; iteration < 200; ++iteration) {
    double shift = C > 0 ? std::log(C) : -kInfinity;
    for (std::size_t k = 0; k < values.size(); ++k)
      if (sums[k] > 0) shift = std::max(shift, std::log(sums[k]) + values[k] * s);
    double total = C > 0 ? std::exp(std::log(C) - shift) : 0;
    double mean = 0, square = 0;
    for (std::size_t k = 0; k < values.size(); ++k) {
      if (!(sums[k] > 0)) continue;
      const double w = std::exp(std::log(sums[k]) + values[k] * s - shift);
      total += w;
      mean += values[k] * w;
      square += values[k] * values[k] * w;
    }
    mean /= total;
    const double slope = mean - share;
    const double curvature = square / total - mean * mean;
    (slope > 0 ? high : low) = s;
    double next = curvature > 0 ? s - slope / curvature : (slope > 0 ? -kInfinity : kInfinity);
    next = std::clamp(next, s - reach, s + reach);
    reach *= 2;
    if (!(low < next && next < high)) next = low + (high - low) / 2;
    const double change = std::abs(next - s);
    s = std::isfinite(next) ? next : s;
    if (slope == 0 || change <= 1e-15 * (1 + std::abs(s))) break;
  }
  return s;
}

}  // namespace pathcond
