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

PATHCOND_SIMD LevelTerm roots_at(double S, const double* leaving, const double* entering,
                                 const double* share, std::size_t n) {
  double roots[kLanes] = {}, changes[kLanes] = {};
  const auto add = [&](std::size_t k, std::size_t lane) {
    const LevelTerm term = level_term(S, share[k], leaving[k], entering[k]);
    roots[lane] += term.root;
    changes[lane] += term.change;
  };
  std::size_t k = 0;
  for (; k + kLanes <= n; k += kLanes)
    for (std::size_t lane = 0; lane < kLanes; ++lane) add(k + lane, lane);
  for (; k < n; ++k) add(k, 0);
  LevelTerm sum{0, 0};
  for (std::size_t lane = 0; lane < kLanes; ++lane) {
    sum.root += roots[lane];
    sum.change += changes[lane];
  }
  return sum;
}

PATHCOND_SIMD void steps_at(double S, const double* leaving, const double* entering,
                            const double* share, std::size_t n, double* t) {
  for (std::size_t k = 0; k < n; ++k)
    t[k] = plain_step_for_total(share[k] * S, leaving[k], entering[k]);
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
  return level_root(total, rest, [&](double S) {
    return roots_at(S, flows.leaving.data(), flows.entering.data(), flows.share.data(),
                    flows.share.size());
  });
}

void level_steps(const LevelFlows& flows, double total, std::vector<double>& t) {
  t.resize(flows.share.size());
  steps_at(total, flows.leaving.data(), flows.entering.data(), flows.share.data(), t.size(),
           t.data());
  for (std::size_t k = 0; k < t.size(); ++k)
    t[k] = bounded_step(t[k], flows.share[k] * total, flows.leaving[k], flows.entering[k]);
}

}  // namespace pathcond
