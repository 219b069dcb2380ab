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

/// The same where nothing leaves the range of doubles.
PATHCOND_HOST_DEVICE inline double plain_step_for_total(double flow, double O, double I) {
  const double root = std::sqrt(flow * flow + 4 * O * I);
  const double over = flow > 0 ? flow + root : 2 * I;
  const double under = flow > 0 ? 2 * O : root - flow;
  return over / under;
}

/// A step of a level, given the plain one: parts of an exact step decrease F too, longer ones could
/// leave the range of doubles; 1 for neurons without a row left, or whose weights underflow.
PATHCOND_HOST_DEVICE inline double bounded_step(double plain, double flow, double O, double I) {
  constexpr double kLongestStep = 1e87;
  double t = plain;
  // The product O I may have underflowed: take the roots apart.
  if (flow == 0 || !(t > 0 && std::isfinite(t))) t = step_for_total(flow, O, I);
  if (!(t > 0 && std::isfinite(t))) return 1;
  return t < 1 / kLongestStep ? 1 / kLongestStep : t > kLongestStep ? kLongestStep : t;
}

/// Where what a step touches outweighs everything else by more, the rest is rounding.
inline constexpr double kOutweighed = 1e-6;

/// A term of the sum whose root a level's total is, and its derivative in S: see `level_total`.
struct LevelTerm {
  double root, change;
};
PATHCOND_HOST_DEVICE inline LevelTerm level_term(double S, double share, double O, double I) {
  constexpr double kSmallestRoot = 1e-300;
  const double flow = share * S;
  const double root = std::sqrt(flow * flow + 4 * O * I);
  return {root, share * flow / (root > kSmallestRoot ? root : kSmallestRoot)};
}

/// The root S of S = rest + roots(S).root, where roots(S) adds up the terms of all neurons of a
/// level. S - rest - roots is concave and not positive at `rest`: Newton's iterates climb to the
/// root from below, wherever below they start. From far above, rounding may leave them above.
template <class Roots>
PATHCOND_KERNEL double level_root(double total, double rest, const Roots& roots) {
  double S = total;
  for (int iteration = 0; iteration < 100; ++iteration) {
    const LevelTerm sum = roots(S);
    const double slope = 1 - sum.change;
    // A level that holds every row, each neuron one-sided: F is flat, any total will do.
    if (!(slope > 1e-14)) return S;
    const double newton = S - (S - rest - sum.root) / slope;
    const double next = newton > rest ? newton : rest;
    const bool settled =
        std::abs(next - S) <= 1e-16 * S || (iteration > 0 && next <= S && next > 0.5 * S);
    S = next;
    if (settled) break;
  }
  return S;
}

/// The positive root t of (p-d) O t^2 - d C t - (p+d) I = 0, with both O and I positive.
PATHCOND_HOST_DEVICE inline double positive_root(double p, double d, double O, double I, double C) {
  const double flow = d * C, a = (p - d) * O, b = (p + d) * I;
  const double root = std::sqrt(flow * flow + 4 * a * b);
  return flow >= 0 ? (flow + root) / (2 * a) : 2 * b / (root - flow);
}

/// Minimiser over s of p log(C + sum_k S_k exp(values[k] s)) - d s for any column values. There the
/// terms that push up, sum (values[k] - d/p) S_k exp(values[k] s) over values above d/p, equal
/// those that push down; C has the value 0. The difference of the logarithms of the two sums is
/// close to linear in s and never out of range, whatever C hides: its root by Newton's method
/// inside a bracket. {+1, -2} makes it a cubic in e^s. Zero when F is flat or has no minimiser.
inline double general_step(double p, double d, double log_C, std::span<const double> values,
                           std::span<const double> log_S) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  struct Side {
    double largest = -kInfinity, sum = 0, slope = 0;
  };
  const double share = d / p;
  double unit = kInfinity;  // exponents count, not s: values may be large or small
  for (const double value : values) unit = std::min(unit, 1 / std::abs(value));

  double low = -kInfinity, high = kInfinity, s = 0;
  for (int iteration = 0; iteration < 200; ++iteration) {
    Side up, down;
    const auto for_terms = [&](const auto& use) {
      if (log_C > -kInfinity && share != 0) use(0.0, log_C, share < 0 ? up : down);
      for (std::size_t k = 0; k < values.size(); ++k)
        if (values[k] != share) use(values[k], log_S[k], values[k] > share ? up : down);
    };
    for_terms([&](double value, double log_sum, Side& side) {
      side.largest = std::max(side.largest, log_sum + value * s);
    });
    if (up.largest == -kInfinity || down.largest == -kInfinity) return 0;
    for_terms([&](double value, double log_sum, Side& side) {
      const double w = std::abs(value - share) * std::exp(log_sum + value * s - side.largest);
      side.sum += w;
      side.slope += value * w;
    });
    const double excess = up.largest - down.largest + std::log(up.sum / down.sum);
    (excess > 0 ? high : low) = s;
    double next = s - excess / (up.slope / up.sum - down.slope / down.sum);
    if (std::abs(next - s) <= 2e-16 * (unit + std::abs(s))) break;
    // Newton's steps may go to and fro where one term takes over from another.
    const bool bisect = iteration % 4 == 3 && high - low < kInfinity;
    if (bisect || !(low < next && next < high)) next = low + 0.5 * (high - low);
    if (next == s) break;
    s = next;
  }
  return s;
}

/// Rounding of a value of F/p that was put together from terms of this total size: differences
/// below it mean nothing, there only the gradient can tell progress.
PATHCOND_HOST_DEVICE inline double rounding_of(double size) {
  return 32 * std::numeric_limits<double>::epsilon() * (1 + size);
}

}  // namespace pathcond
