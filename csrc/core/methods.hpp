#pragma once

#include <algorithm>
#include <chrono>
#include <memory>
#include <utility>

#include "core/block_state.hpp"
#include "core/box.hpp"
#include "core/columns.hpp"
#include "core/monitor.hpp"
#include "core/progress.hpp"
#include "core/solve.hpp"

/// What `solve` chooses from once the problem is merged. Each starts at `solution.u` and fills in
/// the rest of the solution.
namespace pathcond {

/// Seconds per stage of a solve.
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

/// What all methods are given.
struct Setting {
  const Options& options;
  double tolerance;  ///< what `converged` is judged by
  Box box;
  Monitor& monitor;
  Stopwatch& watch;

  /// What the methods aim at: whoever sums in another order should find the tolerance met too.
  double target() const { return 0.5 * tolerance; }
  bool met_by(const Point& point) const { return box.stationarity(point) <= tolerance; }
};

/// Rank-one steps, then level sweeps with a coarse step, then Newton where they stall; or Newton
/// alone if the options say so. Without weights of its own the problem's blocks serve.
void solve_by_blocks(BlockProblem problem, std::unique_ptr<Weights> weights, const Setting& setting,
                     Progress& progress, Solution& solution);
/// Exact coordinate sweeps over merged rows until they slow down, then Newton.
void solve_by_columns(const ColumnProblem& problem, const Setting& setting, Progress& progress,
                      Solution& solution);
/// The paper's method, on merged rows: the same iterates, since merging does not change F.
/// `started`: sweeps have been made already.
void solve_by_cd(const ColumnProblem& problem, const Setting& setting, Progress& progress,
                 bool started, Solution& solution);
/// The same on blocks; on merged rows from where numbers come near the end of their range.
void solve_by_cd(BlockProblem problem, std::unique_ptr<Weights> weights, const Setting& setting,
                 Progress& progress, Solution& solution);

}  // namespace pathcond
