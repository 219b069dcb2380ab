#include "core/methods.hpp"

#include <cmath>

#include "core/column_objective.hpp"
#include "core/column_sweep.hpp"
#include "core/level_sweep.hpp"
#include "core/neuron_sweep.hpp"
#include "core/newton.hpp"
#include "core/planned_sweep.hpp"
#include "core/rank_one.hpp"

namespace pathcond {
namespace {

/// Decides when sweeps that converge linearly should give way to a second-order method.
class RateWatch {
 public:
  /// True once the stationarity has shrunk too little two times in a row. A sweep is judged with
  /// the one before it: forward and backward sweeps may differ.
  bool too_slow(double gradient_norm) {
    if (sweeps_ > 1) rate_ = std::sqrt(gradient_norm / before_previous_);
    before_previous_ = std::exchange(previous_, gradient_norm);
    slow_ = ++sweeps_ > kWarmUp && rate_ > kGoodRate ? slow_ + 1 : 0;
    return slow_ >= 2;
  }
  /// Stationarity to be expected after one more sweep.
  double predicted() const { return previous_ * std::min(1.0, rate_); }

 private:
  static constexpr int kWarmUp = 8;
  /// With this rate Newton's method, conjugate gradients counted, needs about as many passes.
  static constexpr double kGoodRate = 0.2;
  double previous_ = 0, before_previous_ = 0;
  double rate_ = 1;
  int sweeps_ = 0, slow_ = 0;
};

/// Where entries of B are so large that roundings hide more than this of the gradient, a small
/// gradient is no certificate.
constexpr double kUncertain = 1e-9;

/// `met`: whether the point meets the method's criterion; nothing else may be called converged.
void finish(const Progress& progress, const Point& point, const Box& box, double passes, bool met,
            Solution& solution) {
  solution.objective = progress.unscale(point.value);
  solution.gradient_norm = box.stationarity(point);
  solution.history = progress.history();
  solution.initial_objective = solution.history.front();
  solution.sweeps = progress.sweeps();
  solution.passes = passes;
  if (met)
    solution.status = Status::converged;
  else if (solution.status == Status::converged)
    solution.status = Status::stalled;
}

/// A start from which the methods need hundreds of steps, each bounded, if they arrive at all,
/// gives way to u = 0 where F is lower. Starts and ends at an evaluated point.
void leave_far_start(Objective& objective, Point& point, const Progress& progress) {
  constexpr double kFar = 100;
  if (progress.exhausted() || !(max_norm(point.u) > kFar)) return;
  Point origin(point.u.size());
  objective.evaluate(origin);
  if (origin.value < point.value)
    point = std::move(origin);
  else
    objective.evaluate(point);
}

/// Where entries of B lie so far apart that rounding takes sweeps uphill, the start is better.
/// Starts and ends at an evaluated point.
void take_back_ascent(Objective& objective, Point& point, const std::vector<double>& start,
                      const Progress& progress) {
  if (progress.unscale(point.value - point.rounding) <= progress.history().front()) return;
  point.u = start;
  objective.evaluate(point);
}

/// Moves to the minimum of the rank-one model, again and again while that is worth its evaluations.
/// Starts and ends at an evaluated point. True when the caller wants to stop.
bool rank_one_steps(BlockState& state, const Box& box, Point& point, double target,
                    Progress& progress) {
  constexpr double kWorthwhile = 0.03;  // level sweeps do about as well from here on
  double before = 0, now = box.stationarity(point);
  do {
    if (now <= target) return false;
    auto model = RankOneModel::of(state);
    const auto change = model ? model->minimum(0.1 * target) : std::nullopt;
    if (!change) return false;
    Point next(point.u.size());
    for (std::size_t k = 0; k < next.u.size(); ++k) next.u[k] = box.clip(point.u[k] + (*change)[k]);
    state.evaluate(next);
    if (!(next.value <= point.value + point.rounding)) {
      state.evaluate(point);
      return false;
    }
    point = std::move(next);
    before = std::exchange(now, box.stationarity(point));
    if (progress.record(point.value, before)) return true;
  } while (now <= kWorthwhile * before);
  return false;
}

/// Level sweeps with a coarse step, then Newton where they stall or leave the box. Starts and ends
/// at an evaluated point.
Status level_sweeps(BlockState& state, const Box& box, Point& point, double target,
                    Progress& progress) {
  if (progress.exhausted() || rank_one_steps(state, box, point, target, progress))
    return progress.status();
  LevelSweep sweeps(state);
  RateWatch rate;
  while (!(box.stationarity(point) <= target)) {
    if (progress.exhausted()) return progress.status();
    const auto outcome = sweeps.sweep();
    if (!outcome.descended || !(outcome.largest <= box.bound)) {
      point.u = sweeps.u_before();
      state.evaluate(point);
      return newton(state, box, point, target, progress);
    }
    const bool stop = progress.record(outcome.objective, outcome.gradient_norm);
    const bool slow = rate.too_slow(outcome.gradient_norm);
    if (!stop && !slow && rate.predicted() > target) continue;
    point.u = sweeps.u();
    state.evaluate(point);
    if (stop) return progress.status();
    if (slow) return newton(state, box, point, target, progress);
  }
  return Status::converged;
}

/// Sweeps of the paper's method until it stops. `sweep` returns an outcome, or nullopt where it
/// cannot go on; then so does this.
template <class Sweep, class Objective>
bool run_cd(const Sweep& sweep, const Objective& objective, const Setting& setting,
            Progress& progress, Solution& solution) {
  bool stop = progress.exhausted(), converged = false;
  while (!stop && !converged) {
    const std::optional<ColumnSweep::Outcome> outcome = sweep();
    if (!outcome) return false;
    stop = progress.record(objective(), outcome->gradient_norm);
    converged =
        outcome->change < setting.tolerance && progress.status() != Status::stopped_by_callback;
  }
  solution.status = converged ? Status::converged : progress.status();
  return true;
}

}  // namespace

void solve_by_blocks(BlockProblem problem, std::unique_ptr<Weights> weights, const Setting& setting,
                     Progress& progress, Solution& solution) {
  const auto order = problem.order;
  Point point(order.size());
  for (std::size_t k = 0; k < order.size(); ++k) point.u[k] = solution.u[order[k]];
  auto state =
      weights ? BlockState(std::move(problem), std::move(weights), point.u)
              : BlockState(std::move(problem), point.u, setting.options.threads, setting.monitor);
  state.evaluate(point);
  progress.start(point.value);
  leave_far_start(state, point, progress);
  const auto method = setting.options.method == Method::newton
                          ? [](BlockState& s, const Box& b, Point& x, double t,
                               Progress& p) { return newton(s, b, x, t, p); }
                          : level_sweeps;
  solution.status = method(state, setting.box, point, setting.target(), progress);
  finish(progress, point, setting.box, state.passes(), setting.met_by(point), solution);
  // A group may move as a whole, neurons without a row with it: F does not feel them.
  for (std::size_t k = 0; k < order.size(); ++k)
    if (!solution.frozen[order[k]]) solution.u[order[k]] = point.u[k];
  setting.watch.lap("sweeps");
}

void solve_by_columns(const ColumnProblem& problem, const Setting& setting, Progress& progress,
                      Solution& solution) {
  Point point(solution.u.size());
  point.u = solution.u;
  ColumnObjective objective(problem, coarse_groups(problem), setting.monitor);
  objective.evaluate(point);
  progress.start(point.value);
  leave_far_start(objective, point, progress);
  bool stop = progress.exhausted();
  if (setting.options.method == Method::automatic) {
    ColumnSweep sweeps(problem, setting.box, point.u, setting.monitor);
    RateWatch rate;
    bool slow = setting.box.stationarity(point) <= setting.target();
    while (!stop && !slow) {
      const auto outcome = sweeps.sweep();
      stop = progress.record(sweeps.objective(), outcome.gradient_norm);
      slow = rate.too_slow(outcome.gradient_norm) || rate.predicted() <= setting.target();
    }
    const auto start = std::exchange(point.u, sweeps.u());
    objective.evaluate(point);
    take_back_ascent(objective, point, start, progress);
  }
  const auto sweeps = static_cast<double>(progress.sweeps());
  solution.status =
      stop ? progress.status() : newton(objective, setting.box, point, setting.target(), progress);
  // Steps whose decrease is rounding may go uphill by it each.
  take_back_ascent(objective, point, solution.u, progress);
  const bool certain = setting.box.stationarity(point) + objective.gradient_rounding(point.u) <=
                       std::max(setting.tolerance, kUncertain);
  finish(progress, point, setting.box, sweeps + objective.passes(),
         setting.met_by(point) && certain, solution);
  for (std::size_t h = 0; h < point.u.size(); ++h)
    if (!solution.frozen[h]) solution.u[h] = point.u[h];
  setting.watch.lap("sweeps");
}

void solve_by_cd(const ColumnProblem& problem, const Setting& setting, Progress& progress,
                 bool started, Solution& solution) {
  ColumnSweep sweeps(problem, setting.box, solution.u, setting.monitor);
  if (!started) progress.start(sweeps.objective());
  run_cd([&] { return std::optional(sweeps.sweep()); }, [&] { return sweeps.objective(); }, setting,
         progress, solution);
  setting.watch.lap("sweeps");
  Point point(solution.u.size());
  point.u = sweeps.u();
  ColumnObjective objective(problem, std::vector<std::int32_t>(point.u.size(), 0), setting.monitor);
  objective.evaluate(point);
  take_back_ascent(objective, point, solution.u, progress);
  finish(progress, point, setting.box, static_cast<double>(progress.sweeps()) + objective.passes(),
         solution.status == Status::converged && std::isfinite(point.value), solution);
  solution.u = point.u;
  setting.watch.lap("certificate");
}

void solve_by_cd(BlockProblem problem, std::unique_ptr<Weights> weights, const Setting& setting,
                 Progress& progress, Solution& solution) {
  const auto order = problem.order;
  Point point(order.size());
  for (std::size_t k = 0; k < order.size(); ++k) point.u[k] = solution.u[order[k]];
  const auto by_blocks = [&](auto& sweeps) {
    progress.start(sweeps.objective());
    const bool done = run_cd([&] { return sweeps.sweep(); }, [&] { return sweeps.objective(); },
                             setting, progress, solution);
    point.u = sweeps.u();
    for (std::size_t k = 0; k < order.size(); ++k) solution.u[order[k]] = point.u[k];
    return done;
  };
  const auto by_rows = [&](const BlockProblem& blocks, bool started) {
    solve_by_cd(to_columns(to_pairs(blocks, solution.frozen)), setting, progress, started,
                solution);
  };
  const auto end = [&](BlockState& state, double passes) {
    setting.watch.lap("sweeps");
    state.evaluate(point);
    finish(progress, point, setting.box, passes + state.passes(),
           solution.status == Status::converged && std::isfinite(point.value), solution);
    setting.watch.lap("certificate");
  };
  if (max_norm(point.u) <= NeuronSweep::kFarthest && weights) {
    BlockState state(std::move(problem), std::move(weights), point.u);
    if (const auto sweeper = state.cd_sweeper(setting.box)) {
      PlannedSweep sweeps(state, *sweeper);
      if (by_blocks(sweeps)) return end(state, 0);
      state.bring_weights();
      return by_rows(state.problem(), true);
    }
    state.bring_weights();
    problem = state.problem();
  }
  if (weights) weights->bring_to(problem.blocks);
  NeuronSweep sweeps(problem, setting.box, point.u, setting.options.threads, setting.monitor);
  if (!sweeps.in_range()) return by_rows(problem, false);
  if (!by_blocks(sweeps)) return by_rows(problem, true);
  BlockState state(std::move(problem), point.u, setting.options.threads, setting.monitor);
  end(state, sweeps.passes());
}

}  // namespace pathcond
