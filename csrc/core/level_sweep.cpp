#include "core/level_sweep.hpp"

#include <algorithm>

#include "core/step.hpp"

namespace pathcond {

double LevelSweep::step(std::int32_t level) {
  const BlockProblem& problem = state_.problem();
  const auto first_group = problem.level_begin[level];
  const auto last_group = problem.level_begin[level + 1];
  const auto first = static_cast<std::size_t>(problem.group_begin[first_group]);
  flows_.resize(static_cast<std::size_t>(problem.group_begin[last_group]) - first);
  state_.refresh(first_group, last_group);
  for (auto g = first_group; g < last_group; ++g) {
    const auto at = static_cast<std::size_t>(problem.group_begin[g]) - first;
    state_.flows(g, &flows_.leaving[at], &flows_.entering[at]);
  }
  for (std::size_t k = 0; k < flows_.share.size(); ++k)
    flows_.share[k] = problem.degree[first + k] / problem.rows;
  const double worst = flows_.stationarity(total_);
  double rest = total_ - flows_.touched();
  if (!(rest > kOutweighed * total_)) rest = state_.rest(first_group, last_group);
  total_ = level_total(flows_, total_, rest);
  level_steps(flows_, total_, t_);
  for (auto g = first_group; g < last_group; ++g)
    state_.step(g, &t_[static_cast<std::size_t>(problem.group_begin[g]) - first]);
  return worst;
}

LevelSweep::Outcome LevelSweep::sweep() {
  const std::int32_t levels = state_.problem().levels();
  const std::vector<double> u = state_.u();
  // Fresh from sums over blocks, so that roundings of the level steps do not add up.
  total_ = evaluate(state_.coarse_problem()).value.total;
  const auto [before, rounding] = state_.value(total_);
  double worst = 0;
  std::int32_t k = 0;
  if (Sweeper* there = there_[forward_].get()) {
    const auto swept = state_.sweep(*there, total_);
    k = static_cast<std::int32_t>(swept.steps);
    total_ = swept.total;
    worst = swept.gradient_norm;
  }
  for (; k < levels; ++k) worst = std::max(worst, step(forward_ ? k : levels - 1 - k));
  forward_ = !forward_;
  const auto [shift, minimum] = minimise(state_.coarse_problem());
  state_.shift(shift);
  double objective = state_.value(minimum.total).objective;
  if (state_.far() || !(objective <= before + rounding)) {
    // Rows that were out of sight may have come back, or sums have lost what they were made of:
    // ask again, with all rows.
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
