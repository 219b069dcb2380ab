#include "core/level_step.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "core/simd.hpp"
#include "core/step.hpp"

namespace pathcond {
namespace {

// Independent partial sums, so that the compiler may use vectors without reordering any sum.
constexpr std::size_t kLanes = 8;

/// Part of an exact step decreases F too; longer ones could leave the range of doubles.
constexpr double kLongestStep = 1e87;
constexpr double kSmallestRoot = 1e-300;

struct Slope {
  double roots;   ///< sum_h sqrt((share_h S)^2 + 4 O_h I_h)
  double change;  ///< its derivative in S
};

PATHCOND_SIMD Slope roots_at(double S, const double* leaving, const double* entering,
                             const double* share, std::size_t n) {
  double roots[kLanes] = {}, changes[kLanes] = {};
  const auto add = [&](std::size_t k, std::size_t lane) {
    const double flow = share[k] * S;
    const double root = std::sqrt(flow * flow + 4 * leaving[k] * entering[k]);
    roots[lane] += root;
    changes[lane] += share[k] * flow / std::max(root, kSmallestRoot);
  };
  std::size_t k = 0;
  for (; k + kLanes <= n; k += kLanes)
    for (std::size_t lane = 0; lane < kLanes; ++lane) add(k + lane, lane);
  for (; k < n; ++k) add(k, 0);
  Slope sum{0, 0};
  for (std::size_t lane = 0; lane < kLanes; ++lane) {
    sum.roots += roots[lane];
    sum.change += changes[lane];
  }
  return sum;
}

PATHCOND_SIMD void steps_at(double S, const double* leaving, const double* entering,
                            const double* share, std::size_t n, double* t) {
  for (std::size_t k = 0; k < n; ++k) {
    const double flow = share[k] * S;
    const double root = std::sqrt(flow * flow + 4 * leaving[k] * entering[k]);
    const double over = flow > 0 ? flow + root : 2 * entering[k];
    const double under = flow > 0 ? 2 * leaving[k] : root - flow;
    t[k] = over / under;
  }
}

PATHCOND_SIMD double worst_of(double total, const double* leaving, const double* entering,
                              const double* share, std::size_t n) {
  double lanes[kLanes] = {}, worst = 0;
  const double unit = 1 / total;
  const auto at = [&](std::size_t k) {
    return std::abs((leaving[k] - entering[k]) * unit - share[k]);
  };
  std::size_t k = 0;
  for (; k + kLanes <= n; k += kLanes)
    for (std::size_t lane = 0; lane < kLanes; ++lane)
      lanes[lane] = std::max(lanes[lane], at(k + lane));
  for (; k < n; ++k) worst = std::max(worst, at(k));
  for (const double lane : lanes) worst = std::max(worst, lane);
  return worst;
}

PATHCOND_SIMD double sum_of(const double* a, const double* b, std::size_t n) {
  double lanes[kLanes] = {}, sum = 0;
  std::size_t k = 0;
  for (; k + kLanes <= n; k += kLanes)
    for (std::size_t lane = 0; lane < kLanes; ++lane) lanes[lane] += a[k + lane] + b[k + lane];
  for (; k < n; ++k) sum += a[k] + b[k];
  for (const double lane : lanes) sum += lane;
  return sum;
}

}  // namespace

void LevelFlows::resize(std::size_t neurons) {
  leaving.resize(neurons);
  entering.resize(neurons);
  share.resize(neurons);
}

double LevelFlows::touched() const {
  return sum_of(leaving.data(), entering.data(), leaving.size());
}

double LevelFlows::stationarity(double total) const {
  return worst_of(total, leaving.data(), entering.data(), share.data(), share.size());
}

double level_total(const LevelFlows& flows, double total, double rest) {
  const auto at = [&](double S) {
    return roots_at(S, flows.leaving.data(), flows.entering.data(), flows.share.data(),
                    flows.share.size());
  };
  // f(S) = S - rest - sum sqrt(...) is concave and f(rest) <= 0: Newton's iterates climb to the
  // root from below, wherever below they start.
  double S = total;
  for (int iteration = 0; iteration < 100; ++iteration) {
    const auto [roots, change] = at(S);
    const double slope = 1 - change;
    // A level that holds every row, each neuron one-sided: F is flat, any total will do.
    if (!(slope > 1e-14)) return S;
    const double next = std::max(rest, S - (S - rest - roots) / slope);
    const bool settled = std::abs(next - S) <= 1e-16 * S || (iteration > 0 && next <= S);
    S = next;
    if (settled) break;
  }
  return S;
}

void level_steps(const LevelFlows& flows, double total, std::vector<double>& t) {
  t.resize(flows.share.size());
  steps_at(total, flows.leaving.data(), flows.entering.data(), flows.share.data(), t.size(),
           t.data());
  for (std::size_t k = 0; k < t.size(); ++k) {
    // The product O I may have underflowed: take the roots apart.
    if (flows.share[k] == 0 || !(t[k] > 0 && std::isfinite(t[k])))
      t[k] = step_for_total(flows.share[k] * total, flows.leaving[k], flows.entering[k]);
    t[k] = t[k] > 0 && std::isfinite(t[k]) ? std::clamp(t[k], 1 / kLongestStep, kLongestStep) : 1;
  }
}

}  // namespace pathcond
