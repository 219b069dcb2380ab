#include "core/coarse.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/dense.hpp"
#include "core/objective.hpp"

namespace pathcond {

CoarsePoint evaluate(const CoarseProblem& problem, const std::vector<double>& shift) {
  const std::size_t n = problem.size;
  CoarsePoint point{problem.constant, 0, std::vector<double>(n), std::vector<double>(n * n)};
  auto& mean = point.gradient;
  auto& hessian = point.hessian;
  for (std::size_t a = 0; a < n; ++a) {
    const double out = problem.leave[a] * std::exp(shift[a]);
    const double in = problem.enter[a] * std::exp(-shift[a]);
    point.total += out + in;
    mean[a] += out - in;
    hessian[a * n + a] += out + in;
    for (std::size_t b = 0; b < n; ++b) {
      if (problem.pair[a * n + b] == 0) continue;
      const double w = problem.pair[a * n + b] * std::exp(shift[a] - shift[b]);
      point.total += w;
      mean[a] += w;
      mean[b] -= w;
      hessian[a * n + a] += w;
      hessian[b * n + b] += w;
      hessian[a * n + b] -= w;
      hessian[b * n + a] -= w;
    }
  }
  for (double& value : mean) value /= point.total;
  for (std::size_t a = 0; a < n; ++a)
    for (std::size_t b = 0; b < n; ++b)
      hessian[a * n + b] = hessian[a * n + b] / point.total - mean[a] * mean[b];
  for (std::size_t a = 0; a < n; ++a) mean[a] -= problem.share[a];
  point.objective = std::log(point.total) -
                    std::inner_product(shift.begin(), shift.end(), problem.share.begin(), 0.0);
  return point;
}

std::vector<double> minimise(const CoarseProblem& problem) {
  constexpr int kMaxSteps = 40;
  constexpr double kTolerance = 1e-15;  // rounding level of shares, which sum to 1
  constexpr double kLongestStep = 8;    // quadratic models of exp are worthless farther away
  std::vector<double> shift(problem.size, 0.0);
  CoarsePoint point = evaluate(problem, shift);
  for (int iteration = 0; iteration < kMaxSteps; ++iteration) {
    if (!(max_norm(point.gradient) > kTolerance)) break;
    // Groups that carry next to nothing of the total have a slope but no curvature: without this
    // term, which vanishes at the minimum, their step would be rounding noise.
    const double damping = max_norm(point.gradient) / kLongestStep;
    for (std::size_t a = 0; a < problem.size; ++a) point.hessian[a * problem.size + a] += damping;
    std::vector<double> step = point.gradient;
    DenseFactor(std::move(point.hessian), problem.size).solve(step);
    double length = std::min(1.0, kLongestStep / max_norm(step));
    bool improved = false;
    for (int halving = 0; halving < 20 && !improved; ++halving, length /= 2) {
      std::vector<double> next(shift);
      for (std::size_t a = 0; a < next.size(); ++a) next[a] -= length * step[a];
      CoarsePoint trial = evaluate(problem, next);
      const double change = trial.objective - point.objective;
      improved = std::abs(change) <= objective_noise(point.objective)
                     ? max_norm(trial.gradient) < max_norm(point.gradient)
                     : change < 0;
      if (!improved) continue;
      shift = std::move(next);
      point = std::move(trial);
    }
    if (!improved) break;
  }
  return shift;
}

}  // namespace pathcond
