#include "core/level_sweep.hpp"

#include <algorithm>
#include <utility>

#include "core/step.hpp"
#include "core/sweep_plan.hpp"

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
  const bool forward = std::exchange(forward_, !forward_);
  if (!there_ || !state_.has(there_->plan(forward).given)) {
    u_before_ = state_.u();
    // Fresh from sums over blocks, so that roundings of the level steps do not add up.
    const Swept nothing{0, evaluate(state_.coarse_problem()).value.total};
    before_ = state_.value(nothing.total);
    return finish(nothing, forward);
  }
  if (!state_.away()) before_ = state_.value(state_.rest(0, 0));
  const Swept swept = state_.sweep(*there_, forward);
  if (swept.steps == there_->plan(forward).steps.size() && !BlockState::far(swept)) {
    const auto after = state_.value(swept);
    if (after.objective <= before_.objective + before_.rounding) {
      before_ = after;
      return {after.objective, swept.gradient_norm, swept.largest, true};
    }
  }
  state_.bring(u_before_);
  return finish(swept, forward);
}

LevelSweep::Outcome LevelSweep::finish(const Swept& begun, bool forward) {
  const std::int32_t levels = state_.problem().levels();
  auto k = static_cast<std::int32_t>(begun.steps);
  total_ = begun.total;
  double worst = begun.gradient_norm;
  if (k < levels) {
    for (; k < levels; ++k) worst = std::max(worst, step(forward ? k : levels - 1 - k));
    const auto [shift, minimum] = minimise(state_.coarse_problem());
    state_.shift(shift);
    total_ = minimum.total;
  }
  double objective = state_.value(total_).objective;
  const auto ascended = [&] { return !(objective <= before_.objective + before_.rounding); };
  if (state_.far() || ascended()) {
    // Rows that were out of sight may have come back, or sums have lost what they were made of:
    // ask again, with all rows.
    Point point(u_before_.size());
    point.u = state_.u();
    state_.evaluate(point);
    objective = point.value;
    if (ascended()) {
      point.u = u_before_;
      state_.evaluate(point);
      return {before_.objective, worst, max_norm(state_.u()), false};
    }
  }
  return {objective, worst, max_norm(state_.u()), true};
}

const std::vector<double>& LevelSweep::u() {
  state_.bring(u_before_);
  return state_.u();
}

const std::vector<double>& LevelSweep::u_before() {
  state_.bring(u_before_);
  return u_before_;
}

}  // namespace pathcond
