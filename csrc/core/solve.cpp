#include "core/solve.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "core/instantiate.hpp"
#include "core/methods.hpp"
#include "core/parallel.hpp"
#include "core/partition.hpp"
#include "core/recognise.hpp"

namespace pathcond {
namespace {

using Vector = std::vector<double>;

Vector starting_point(const Options& options, std::size_t neurons) {
  Vector u = options.u0;
  u.resize(neurons, 0.0);
  Box::of(options.max_scale).clip(u);
  return u;
}

Setting setting_of(const Options& options, Monitor& monitor, Stopwatch& watch) {
  return {options, options.tolerance.value_or(default_tolerance(options.method)),
          Box::of(options.max_scale), monitor, watch};
}

/// Fills in what merging tells of a solution of so many rows with g > 0.
Progress begin(std::int64_t rows, const std::vector<std::uint8_t>& frozen, double log_scale,
               const Options& options, Solution& solution) {
  solution.rows = rows;
  solution.frozen = frozen;
  solution.u = starting_point(options, frozen.size());
  Progress progress(static_cast<double>(rows), log_scale, options.linear,
                    options.max_sweeps.value_or(default_max_sweeps(options.method)),
                    options.callback);
  if (rows == 0) solution.history = progress.history();
  return progress;
}

/// Minimises over merged rows.
void solve_rows(const ColumnProblem& columns, const Setting& setting, Progress& progress,
                Solution& solution) {
  solution.merged_rows = std::ssize(columns.weight) + (columns.constant > 0);
  if (setting.options.method == Method::cd)
    solve_by_cd(columns, setting, progress, false, solution);
  else
    solve_by_columns(columns, setting, progress, solution);
}

/// Whether so few weights of a pruned, narrow network are left that its neurons are better grouped
/// by their own neighbours than by layers: one by one, mostly, and the coarse step is Newton's.
bool is_sparse(const MergedPanels& merged) {
  constexpr std::int64_t kFewWeights = 4, kFewStored = 32;  // per neuron
  const std::int64_t H = merged.ends.neurons;
  return !merged.filled && H <= kMaxGroups && merged.merged_rows <= kFewWeights * H &&
         merged.blocks.stored <= kFewStored * H;
}

/// Minimises over a problem merged to pairs: by blocks where their neurons form groups.
void solve_merged(PairProblem pairs, const Options& options, Monitor& monitor, Stopwatch& watch,
                  Solution& solution) {
  const bool in_range = pairs.rows > 0 && pairs.normalise();
  if (!options.linear) std::fill(pairs.degree.begin(), pairs.degree.end(), 0.0);
  watch.lap("merge");
  Progress progress = begin(pairs.rows, pairs.frozen, pairs.log_scale, options, solution);
  if (pairs.rows == 0) return;
  const Setting setting = setting_of(options, monitor, watch);
  if (in_range && options.method != Method::cd) {
    if (const Partition parts = partition(pairs); parts.groups() > 0) {
      solution.merged_rows = pairs.pairs();
      for (std::int32_t h = 0; h < pairs.neurons; ++h)
        solution.merged_rows += (pairs.leave_only[h] > 0) + (pairs.enter_only[h] > 0);
      solution.merged_rows += pairs.constant > 0;
      BlockProblem blocks = build_blocks(pairs, parts);
      pairs = {};
      watch.lap("blocks");
      solve_by_blocks(std::move(blocks), nullptr, setting, progress, solution);
      return;
    }
  }
  const ColumnProblem columns = to_columns(pairs);
  pairs = {};
  watch.lap("columns");
  solve_rows(columns, setting, progress, solution);
}

/// The same over blocks.
void solve_merged(Merged merged, const Options& options, Monitor& monitor, Stopwatch& watch,
                  Solution& solution) {
  auto& [ends, blocks, merged_rows, filled] = merged.problem;
  if (options.method != Method::cd && is_sparse(merged.problem)) {
    if (merged.weights) merged.weights->bring_to(blocks.blocks);
    solve_merged(to_pairs(blocks, ends.frozen), options, monitor, watch, solution);
    return;
  }
  watch.lap("merge");
  solution.merged_rows = merged_rows;
  if (!options.linear) std::fill(blocks.degree.begin(), blocks.degree.end(), 0.0);
  Progress progress = begin(ends.rows, ends.frozen, ends.log_scale, options, solution);
  if (ends.rows == 0) return;
  const Setting setting = setting_of(options, monitor, watch);
  if (options.method == Method::cd)
    solve_by_cd(std::move(blocks), std::move(merged.weights), setting, progress, solution);
  else
    solve_by_blocks(std::move(blocks), std::move(merged.weights), setting, progress, solution);
}

/// lambda = e^(u/2) means nothing beyond; sums over neurons must stay finite.
constexpr double kLargestStart = 1e6;

void check(const Options& options, std::int64_t rows, std::int64_t columns, std::size_t weights) {
  using std::to_string;
  if (rows < 0 || columns < 0)
    throw InvalidInput("B: expected no negative number of rows or columns, got " + to_string(rows) +
                       " and " + to_string(columns));
  if (static_cast<std::int64_t>(weights) != rows)
    throw InvalidInput("g: expected one entry per row of B, which has " + to_string(rows) +
                       ", got " + to_string(weights));
  if (options.tolerance && !(*options.tolerance >= 0))
    throw InvalidInput("tol: expected a number >= 0, got " + to_string(*options.tolerance));
  if (options.max_sweeps && *options.max_sweeps < 0)
    throw InvalidInput("max_sweeps: expected an integer >= 0, got " +
                       to_string(*options.max_sweeps));
  if (!(options.max_scale >= 1))
    throw InvalidInput("max_scale: expected a number >= 1, got " + to_string(options.max_scale));
  if (options.threads < 1)
    throw InvalidInput("threads: expected an integer >= 1, got " + to_string(options.threads));
  if (options.u0.empty() && columns > 0) return;
  if (static_cast<std::int64_t>(options.u0.size()) != columns)
    throw InvalidInput("u0: expected one entry per neuron (column of B), of which there are " +
                       to_string(columns) + ", got " + to_string(options.u0.size()));
  const double farthest = 2 * std::log(options.max_scale) * (1 + 1e-12);
  for (const double value : options.u0) {
    if (!(std::abs(value) <= kLargestStart))
      throw InvalidInput("u0: entries must be finite and at most 1e6 in size, got " +
                         to_string(value));
    if (!(std::abs(value) <= farthest))
      throw InvalidInput("u0: expected entries within 2 log(max_scale) = " + to_string(farthest) +
                         " of 0, got " + to_string(value));
  }
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
  const Crew crew(workers_for(B.entries, options.threads));
  Solution solution;
  Stopwatch watch(solution);
  Monitor monitor(options.poll);
  const auto tensors = recognise(B, options.threads);
  watch.lap("validate");
  if (tensors) {
    const auto panels = tensors->over(g.data());
    if (auto merged = merge_panels(panels, options.threads, monitor)) {
      solve_merged(Merged{std::move(*merged), nullptr}, options, monitor, watch, solution);
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

  if (auto pairs = merge_pairs(B, g, summary, options.threads, monitor)) {
    solve_merged(std::move(*pairs), options, monitor, watch, solution);
    return solution;
  }
  ColumnProblem columns = merge_patterns(B, g, summary, monitor);
  if (summary.positive > 0) normalise(columns.constant, columns.log_scale, {&columns.weight});
  if (!options.linear) std::fill(columns.degree.begin(), columns.degree.end(), 0.0);
  watch.lap("merge");
  Progress progress = begin(summary.positive, columns.frozen, columns.log_scale, options, solution);
  if (summary.positive > 0)
    solve_rows(columns, setting_of(options, monitor, watch), progress, solution);
  return solution;
}

std::optional<Solution> solve(std::int64_t rows, std::int32_t neurons,
                              const std::function<std::optional<MergedProblem>(Monitor&)>& merge,
                              const Options& options) {
  check(options, rows, neurons, static_cast<std::size_t>(rows));
  const Crew crew(workers_for(rows, options.threads));
  Solution solution;
  Stopwatch watch(solution);
  Monitor monitor(options.poll);
  auto merged = merge(monitor);
  if (!merged) return std::nullopt;
  std::visit(
      [&](auto& problem) { solve_merged(std::move(problem), options, monitor, watch, solution); },
      *merged);
  return solution;
}

template <class G>
std::optional<Solution> solve(const Panels<G>& panels, const Options& options) {
  const auto merge = [&](Monitor& monitor) -> std::optional<MergedProblem> {
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
