#include "core/solve.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <utility>

#include "core/column_objective.hpp"
#include "core/column_sweep.hpp"
#include "core/errors.hpp"
#include "core/instantiate.hpp"
#include "core/level_sweep.hpp"
#include "core/neuron_sweep.hpp"
#include "core/newton.hpp"
#include "core/parallel.hpp"
#include "core/partition.hpp"
#include "core/rank_one.hpp"
#include "core/recognise.hpp"

namespace pathcond {
namespace {

using Vector = std::vector<double>;

class Stopwatch {
 public:
  explicit Stopwatch(Solution& solution) : solution_(solution) {}

  /// Ends a stage, begins the next.
  void lap(const char* stage) {
    const auto now = std::chrono::steady_clock::now();
    const double seconds = std::chrono::duration<double>(now - std::exchange(last_, now)).count();
    auto& all = solution_.seconds;
    const auto known =
        std::find_if(all.begin(), all.end(), [&](auto& x) { return x.first == stage; });
    if (known == all.end())
      all.emplace_back(stage, seconds);
    else
      known->second += seconds;
  }

 private:
  Solution& solution_;
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

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

struct Setting {
  const Options& options;
  double tolerance;  ///< what `converged` is judged by
  Monitor& monitor;
  Stopwatch& watch;

  /// What the methods aim at: whoever sums in another order should find the tolerance met too.
  double target() const { return 0.5 * tolerance; }
  bool met_by(const Point& point) const { return max_norm(point.gradient) <= tolerance; }
};

/// `met`: whether the point meets the method's criterion; nothing else may be called converged.
void finish(const Progress& progress, const Point& point, double passes, bool met,
            Solution& solution) {
  solution.objective = progress.unscale(point.value);
  solution.gradient_norm = max_norm(point.gradient);
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

/// Moves to the minimum of the rank-one model, again and again while that is worth its evaluations.
/// Starts and ends at an evaluated point. True when the caller wants to stop.
bool rank_one_steps(BlockState& state, Point& point, double target, Progress& progress) {
  constexpr double kWorthwhile = 0.03;  // level sweeps do about as well from here on
  double before = 0, now = max_norm(point.gradient);
  do {
    if (now <= target) return false;
    auto model = RankOneModel::of(state);
    const auto change = model ? model->minimum(0.1 * target) : std::nullopt;
    if (!change) return false;
    Point next(point.u.size());
    for (std::size_t k = 0; k < next.u.size(); ++k) next.u[k] = point.u[k] + (*change)[k];
    state.evaluate(next);
    if (!(next.value <= point.value + point.rounding)) {
      state.evaluate(point);
      return false;
    }
    point = std::move(next);
    before = std::exchange(now, max_norm(point.gradient));
    if (progress.record(point.value, before)) return true;
  } while (now <= kWorthwhile * before);
  return false;
}

/// Level sweeps with a coarse step, then Newton where they stall, or at once where reading level by
/// level does not pay. Starts and ends at an evaluated point.
Status level_sweeps(BlockState& state, Point& point, double target, Progress& progress) {
  if (progress.exhausted() || rank_one_steps(state, point, target, progress))
    return progress.status();
  if (!state.sweeps_pay()) return newton(state, point, target, progress);
  LevelSweep sweeps(state);
  RateWatch rate;
  while (!(max_norm(point.gradient) <= target)) {
    if (progress.exhausted()) return progress.status();
    const auto outcome = sweeps.sweep();
    if (!outcome.descended) {
      point.u = state.u();
      state.evaluate(point);
      return newton(state, point, target, progress);
    }
    const bool stop = progress.record(outcome.objective, outcome.gradient_norm);
    const bool slow = rate.too_slow(outcome.gradient_norm);
    if (!stop && !slow && rate.predicted() > target) continue;
    point.u = state.u();
    state.evaluate(point);
    if (stop) return progress.status();
    if (slow) return newton(state, point, target, progress);
  }
  return Status::converged;
}

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
  const auto method =
      setting.options.method == Method::newton
          ? [](BlockState& s, Point& x, double t, Progress& p) { return newton(s, x, t, p); }
          : level_sweeps;
  solution.status = method(state, point, setting.target(), progress);
  finish(progress, point, state.passes(), setting.met_by(point), solution);
  // A group may move as a whole, neurons without a row with it: F does not feel them.
  for (std::size_t k = 0; k < order.size(); ++k)
    if (!solution.frozen[order[k]]) solution.u[order[k]] = point.u[k];
  setting.watch.lap("sweeps");
}

/// Exact coordinate sweeps over merged rows until they slow down, then Newton.
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
    ColumnSweep sweeps(problem, point.u, setting.monitor);
    RateWatch rate;
    bool slow = max_norm(point.gradient) <= setting.target();
    while (!stop && !slow) {
      const auto outcome = sweeps.sweep();
      stop = progress.record(sweeps.objective(), outcome.gradient_norm);
      slow = rate.too_slow(outcome.gradient_norm) || rate.predicted() <= setting.target();
    }
    point.u = sweeps.u();
    objective.evaluate(point);
  }
  const auto sweeps = static_cast<double>(progress.sweeps());
  solution.status = stop ? progress.status() : newton(objective, point, setting.target(), progress);
  finish(progress, point, sweeps + objective.passes(), setting.met_by(point), solution);
  solution.u = point.u;
  setting.watch.lap("sweeps");
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

/// The paper's method, on merged rows: the same iterates, since merging does not change F.
/// `started`: sweeps have been made already.
void solve_by_cd(const ColumnProblem& problem, const Setting& setting, Progress& progress,
                 bool started, Solution& solution) {
  ColumnSweep sweeps(problem, solution.u, setting.monitor);
  if (!started) progress.start(sweeps.objective());
  run_cd([&] { return std::optional(sweeps.sweep()); }, [&] { return sweeps.objective(); }, setting,
         progress, solution);
  setting.watch.lap("sweeps");
  Point point(solution.u.size());
  point.u = sweeps.u();
  ColumnObjective objective(problem, std::vector<std::int32_t>(point.u.size(), 0), setting.monitor);
  objective.evaluate(point);
  finish(progress, point, static_cast<double>(progress.sweeps()) + objective.passes(),
         solution.status == Status::converged && std::isfinite(point.value), solution);
  solution.u = point.u;
  setting.watch.lap("certificate");
}

/// The same on blocks; on merged rows from where numbers come near the end of their range.
void solve_by_cd(BlockProblem problem, const Setting& setting, Progress& progress,
                 Solution& solution) {
  const auto order = problem.order;
  Point point(order.size());
  for (std::size_t k = 0; k < order.size(); ++k) point.u[k] = solution.u[order[k]];
  NeuronSweep sweeps(problem, point.u, setting.options.threads, setting.monitor);
  const bool in_range = sweeps.in_range();
  if (in_range) progress.start(sweeps.objective());
  const bool done =
      in_range && run_cd([&] { return sweeps.sweep(); }, [&] { return sweeps.objective(); },
                         setting, progress, solution);
  point.u = sweeps.u();
  for (std::size_t k = 0; k < order.size(); ++k) solution.u[order[k]] = point.u[k];
  if (!done) {
    solve_by_cd(to_columns(to_pairs(problem, solution.frozen)), setting, progress, in_range,
                solution);
    return;
  }
  setting.watch.lap("sweeps");
  BlockState state(std::move(problem), point.u, setting.options.threads, setting.monitor);
  state.evaluate(point);
  finish(progress, point, sweeps.passes() + state.passes(),
         solution.status == Status::converged && std::isfinite(point.value), solution);
  setting.watch.lap("certificate");
}

/// Minimises over a merged problem.
void solve_merged(Merged merged, std::int32_t neurons, const Options& options, Monitor& monitor,
                  Stopwatch& watch, Solution& solution) {
  auto& [ends, blocks, merged_rows, all_positive] = merged.problem;
  watch.lap("merge");
  solution.rows = ends.rows;
  solution.merged_rows = merged_rows;
  solution.frozen = ends.frozen;
  solution.u = options.u0.empty() ? Vector(static_cast<std::size_t>(neurons), 0.0) : options.u0;
  Progress progress(static_cast<double>(solution.rows), ends.log_scale,
                    options.max_sweeps.value_or(default_max_sweeps(options.method)),
                    options.callback);
  if (solution.rows == 0) {
    solution.history = progress.history();
    return;
  }
  const Setting setting{options, options.tolerance.value_or(default_tolerance(options.method)),
                        monitor, watch};
  if (options.method == Method::cd)
    solve_by_cd(std::move(blocks), setting, progress, solution);
  else
    solve_by_blocks(std::move(blocks), std::move(merged.weights), setting, progress, solution);
}

/// lambda = e^(u/2) means nothing beyond; sums over neurons must stay finite.
constexpr double kLargestStart = 1e6;

void check(const Options& options, std::int64_t rows, std::int64_t columns, std::size_t weights) {
  using std::to_string;
  if (static_cast<std::int64_t>(weights) != rows)
    throw InvalidInput("g: expected one entry per row of B, which has " + to_string(rows) +
                       ", got " + to_string(weights));
  if (options.tolerance && !(*options.tolerance >= 0))
    throw InvalidInput("tol: expected a number >= 0, got " + to_string(*options.tolerance));
  if (options.max_sweeps && *options.max_sweeps < 0)
    throw InvalidInput("max_sweeps: expected an integer >= 0, got " +
                       to_string(*options.max_sweeps));
  if (options.threads < 1)
    throw InvalidInput("threads: expected an integer >= 1, got " + to_string(options.threads));
  if (options.u0.empty() && columns > 0) return;
  if (static_cast<std::int64_t>(options.u0.size()) != columns)
    throw InvalidInput("u0: expected one entry per neuron (column of B), of which there are " +
                       to_string(columns) + ", got " + to_string(options.u0.size()));
  for (const double value : options.u0)
    if (!(std::abs(value) <= kLargestStart))
      throw InvalidInput("u0: entries must be finite and at most 1e6 in size, got " +
                         to_string(value));
}

}  // namespace

Method method_from(const std::string& name) {
  if (name == "auto") return Method::automatic;
  if (name == "cd") return Method::cd;
  if (name == "newton") return Method::newton;
  throw InvalidInput("method: expected 'auto', 'cd' or 'newton', got '" + name + "'");
}

const char* name(Status status) {
  switch (status) {
    case Status::converged:
      return "converged";
    case Status::max_sweeps:
      return "max_sweeps";
    case Status::stopped_by_callback:
      return "stopped_by_callback";
    case Status::stalled:
      return "stalled";
  }
  return "unknown";
}

template <class Index, class Value, class G>
Solution solve(const IncidenceView<Index, Value>& B, std::span<const G> g, const Options& options) {
  check(options, B.rows, B.columns, g.size());
  Solution solution;
  Stopwatch watch(solution);
  Monitor monitor(options.poll);
  const auto tensors = recognise(B, g, options.threads);
  watch.lap("validate");
  if (tensors) {
    auto merged = merge_panels(tensors->input, options.threads, monitor);
    // The panels do not tell which neurons of a pruned layer have which neighbours.
    if (merged && merged->all_positive) {
      solve_merged({std::move(*merged), nullptr}, tensors->input.neurons, options, monitor, watch,
                   solution);
      return solution;
    }
  }
  WeightSummary summary;
  const auto look = [&](int part) { part == 0 ? validate(B) : void(summary = validate(g)); };
  if (options.threads > 1 && B.entries >= kEntriesPerWorker) {
    run_workers(2, look);
  } else {
    look(0);
    look(1);
  }
  watch.lap("validate");

  auto pairs = merge_pairs(B, g, summary, options.threads, monitor);
  std::optional<ColumnProblem> columns;
  if (!pairs) columns = merge_patterns(B, g, summary, monitor);
  const bool in_range =
      summary.positive > 0 &&
      (pairs ? pairs->normalise()
             : normalise(columns->constant, columns->log_scale, {&columns->weight}).has_value());
  watch.lap("merge");

  solution.rows = summary.positive;
  solution.frozen = pairs ? pairs->frozen : columns->frozen;
  solution.u = options.u0.empty() ? Vector(static_cast<std::size_t>(B.columns), 0.0) : options.u0;
  Progress progress(
      static_cast<double>(summary.positive), pairs ? pairs->log_scale : columns->log_scale,
      options.max_sweeps.value_or(default_max_sweeps(options.method)), options.callback);
  if (summary.positive == 0) {
    solution.history = progress.history();
    return solution;
  }

  const Setting setting{options, options.tolerance.value_or(default_tolerance(options.method)),
                        monitor, watch};
  if (pairs && options.method != Method::cd) {
    solution.merged_rows = pairs->pairs();
    for (std::int32_t h = 0; h < pairs->neurons; ++h)
      solution.merged_rows += (pairs->leave_only[h] > 0) + (pairs->enter_only[h] > 0);
    solution.merged_rows += pairs->constant > 0;
    const Partition parts = in_range ? partition(*pairs) : Partition{};
    if (parts.groups() > 0) {
      BlockProblem blocks = build_blocks(*pairs, parts);
      pairs.reset();
      watch.lap("blocks");
      solve_by_blocks(std::move(blocks), nullptr, setting, progress, solution);
      return solution;
    }
  }
  if (pairs) {
    columns = to_columns(*pairs);
    pairs.reset();
    watch.lap("columns");
  }
  solution.merged_rows = std::ssize(columns->weight) + (columns->constant > 0);
  if (options.method == Method::cd)
    solve_by_cd(*columns, setting, progress, false, solution);
  else
    solve_by_columns(*columns, setting, progress, solution);
  return solution;
}

std::optional<Solution> solve(std::int64_t rows, std::int32_t neurons,
                              const std::function<std::optional<Merged>(Monitor&)>& merge,
                              const Options& options) {
  check(options, rows, neurons, static_cast<std::size_t>(rows));
  Solution solution;
  Stopwatch watch(solution);
  Monitor monitor(options.poll);
  auto merged = merge(monitor);
  if (!merged) return std::nullopt;
  solve_merged(std::move(*merged), neurons, options, monitor, watch, solution);
  return solution;
}

template <class G>
std::optional<Solution> solve(const Panels<G>& panels, const Options& options) {
  const auto merge = [&](Monitor& monitor) -> std::optional<Merged> {
    auto merged = merge_panels(panels, options.threads, monitor);
    if (!merged) return std::nullopt;
    return Merged{std::move(*merged), nullptr};
  };
  return solve(panels.rows, panels.neurons, merge, options);
}

template std::optional<Solution> solve(const Panels<float>&, const Options&);
template std::optional<Solution> solve(const Panels<double>&, const Options&);

#define PATHCOND_SOLVE(Index, Value)                                                   \
  template Solution solve(const IncidenceView<Index, Value>&, std::span<const float>,  \
                          const Options&);                                             \
  template Solution solve(const IncidenceView<Index, Value>&, std::span<const double>, \
                          const Options&);
PATHCOND_FOR_EACH_INCIDENCE(PATHCOND_SOLVE)

}  // namespace pathcond
