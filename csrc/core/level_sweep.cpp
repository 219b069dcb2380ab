#include "core/level_sweep.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/step.hpp"

namespace pathcond {
namespace {

/// Part of an exact step decreases F too; longer ones could leave the range of doubles.
constexpr double kLongestLevelStep = 1e87;

constexpr double kCancellation = 1e-6;

}  // namespace

double level_total(double total, double rest, const std::vector<double>& leaving,
                   const std::vector<double>& entering, const double* share) {
  // f(S) = S - rest - sum sqrt(...) is concave and f(least) <= 0: Newton's iterates climb to the
  // root from below, wherever below they start.
  double least = rest;
  for (std::size_t k = 0; k < leaving.size(); ++k)
    least += 2 * std::sqrt(leaving[k]) * std::sqrt(entering[k]);
  double S = total;
  for (int iteration = 0; iteration < 100; ++iteration) {
    double value = S - rest;
    double slope = 1;
    for (std::size_t k = 0; k < leaving.size(); ++k) {
      const double flow = share[k] * S;
      const double root = balanced_sum(flow, leaving[k], entering[k]);
      value -= root;
      if (root > 0) slope -= share[k] * flow / root;
    }
    // A level that holds every row, each neuron one-sided: F is flat, any total will do.
    if (!(slope > 1e-14)) return S;
    const double next = std::max(least, S - value / slope);
    const bool settled = std::abs(next - S) <= 1e-16 * S || (iteration > 0 && next <= S);
    S = next;
    if (settled) break;
  }
  return S;
}

double LevelSweep::step(std::int32_t level) {
  const BlockProblem& problem = state_.problem();
  const auto first_group = problem.level_begin[level];
  const auto last_group = problem.level_begin[level + 1];
  const auto first = static_cast<std::size_t>(problem.group_begin[first_group]);
  const auto size = static_cast<std::size_t>(problem.group_begin[last_group]) - first;
  leaving_.resize(size);
  entering_.resize(size);
  t_.resize(size);
  std::vector<double> share(size);
  for (auto g = first_group; g < last_group; ++g) {
    const auto at = static_cast<std::size_t>(problem.group_begin[g]) - first;
    state_.flows(g, &leaving_[at], &entering_[at]);
  }
  double worst = 0;
  for (std::size_t k = 0; k < size; ++k) {
    share[k] = problem.degree[first + k] / problem.rows;
    worst = std::max(worst, std::abs((leaving_[k] - entering_[k]) / total_ - share[k]));
  }
  const double touched = std::accumulate(leaving_.begin(), leaving_.end(), 0.0) +
                         std::accumulate(entering_.begin(), entering_.end(), 0.0);
  // Where the level outweighs everything else, the difference is rounding.
  double rest = total_ - touched;
  if (!(rest > kCancellation * total_)) rest = state_.rest(first_group, last_group);
  total_ = level_total(total_, rest, leaving_, entering_, share.data());
  for (std::size_t k = 0; k < size; ++k) {
    const double t = step_for_total(share[k] * total_, leaving_[k], entering_[k]);
    // Neurons without a row left, or whose weights underflow, stay where they are.
    t_[k] = t > 0 && std::isfinite(t) ? std::clamp(t, 1 / kLongestLevelStep, kLongestLevelStep) : 1;
  }
  for (auto g = first_group; g < last_group; ++g)
    state_.step(g, &t_[static_cast<std::size_t>(problem.group_begin[g]) - first]);
  return worst;
}

LevelSweep::Outcome LevelSweep::sweep() {
  const std::int32_t levels = state_.problem().levels();
  const auto zero = std::vector<double>(static_cast<std::size_t>(state_.coarse_groups()), 0.0);
  const std::vector<double> u = state_.u();
  // Fresh from sums over blocks, so that roundings of the level steps do not add up.
  total_ = evaluate(state_.coarse_problem(), zero).total;
  const auto [before, rounding] = state_.value(total_);
  double worst = 0;
  for (std::int32_t k = 0; k < levels; ++k)
    worst = std::max(worst, step(forward_ ? k : levels - 1 - k));
  forward_ = !forward_;
  const CoarseProblem coarse = state_.coarse_problem();
  const auto shift = minimise(coarse);
  state_.shift(shift);
  double objective = state_.value(evaluate(coarse, shift).total).objective;
  if (state_.far()) {
    // Rows that were out of sight may have come back: ask again, with all of them.
    Point point(u.size());
    point.u = state_.u();
    state_.evaluate(point);
    objective = point.value;
    if (!(objective <= before + rounding)) {
      point.u = u;
      state_.evaluate(point);
      return {before, worst, false};
    }
  }
  return {objective, worst, true};
}

}  // namespace pathcond
