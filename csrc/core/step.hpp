#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>

#include "core/host_device.hpp"

/// Scalar mathematics shared by every backend. Legend: O, I: what leaves and what enters one
/// neuron (sums of w_i = g_i exp((Bu)_i)); C: the other rows; S = O + I + C; d = #leaving -
/// #entering, p = #rows; t = exp(change of u_h).
namespace pathcond {

/// Minimiser over s = log t of p log(O t + I/t + C) - d s: the positive root of
/// (p-d) O t^2 - d C t - (p+d) I = 0, in log space, where nothing overflows. Arguments are logs;
/// minus infinity where the neuron has no such row. Zero when F is flat or has no minimiser.
PATHCOND_HOST_DEVICE inline double coordinate_step(double p, double d, double log_O, double log_I,
                                                   double log_C) {
  constexpr double kNone = -std::numeric_limits<double>::infinity();
  if (log_O > kNone && log_I > kNone) {
    const double a = std::log(p - d) + log_O;
    const double b = std::log(p + d) + log_I;
    const double balance = 0.5 * (b - a);
    if (d == 0 || log_C == kNone) return balance;
    // asinh(z) = log(2 z) to the last bit where exp(log(2 z)) could overflow.
    const double log_2z = std::log(std::abs(d)) + log_C - 0.5 * (a + b);
    const double push = log_2z < 600 ? std::asinh(0.5 * std::exp(log_2z)) : log_2z;
    return balance + std::copysign(push, d);
  }
  double step = 0;
  if (log_O > kNone)
    step = std::log(d) + log_C - std::log(p - d) - log_O;
  else if (log_I > kNone)
    step = std::log(p + d) + log_I - std::log(-d) - log_C;
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

/// Minimiser over s of p log(C + sum_k S_k exp(values[k] s)) - d s for any column values: the
/// root of the convex function's derivative by Newton's method inside a bracket. {+1, -2} makes it
/// a cubic in e^s. Zero when F is flat or has no minimiser.
inline double general_step(double p, double d, double log_C, std::span<const double> values,
                           std::span<const double> log_S) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  const double share = d / p;
  double lowest = log_C > -kInfinity ? 0 : kInfinity;
  double highest = -lowest;
  for (const double value : values) {
    lowest = std::min(lowest, value);
    highest = std::max(highest, value);
  }
  if (!(lowest < share && share < highest)) return 0;

  double low = -kInfinity, high = kInfinity, s = 0, reach = 4;
  for (int iteration = 0; iteration < 200; ++iteration) {
    double shift = log_C;
    for (std::size_t k = 0; k < values.size(); ++k)
      shift = std::max(shift, log_S[k] + values[k] * s);
    double total = std::exp(log_C - shift), mean = 0, square = 0;
    for (std::size_t k = 0; k < values.size(); ++k) {
      const double w = std::exp(log_S[k] + values[k] * s - shift);
      total += w;
      mean += values[k] * w;
      square += values[k] * values[k] * w;
    }
    mean /= total;
    const double slope = mean - share;
    const double curvature = square / total - mean * mean;
    if (slope == 0) break;
    (slope > 0 ? high : low) = s;
    double next = curvature > 0 ? s - slope / curvature : std::copysign(kInfinity, -slope);
    if (std::abs(next - s) <= 2e-16 * (1 + std::abs(s))) break;
    next = std::clamp(next, s - reach, s + reach);
    reach *= 2;
    if (!(low < next && next < high)) next = low + 0.5 * (high - low);
    if (next == s) break;
    s = next;
  }
  return s;
}

}  // namespace pathcond
