#include "core/coarse.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "core/objective.hpp"

namespace pathcond {

CoarsePoint evaluate(const CoarseProblem& problem, const std::vector<double>& shift) {
  const std::size_t n = shift.size();
  using Vector = std::vector<double>;
  CoarsePoint point{
      problem.constant, 0, 0, Vector(n), Vector(n), Vector(n), Vector(problem.pattern.entries())};
  for (std::size_t a = 0; a < n; ++a) {
    const double out = problem.leave[a] * std::exp(shift[a]);
    const double in = problem.enter[a] * std::exp(-shift[a]);
    point.total += out + in;
    point.mean[a] += out - in;
    point.curvature[a] += out + in;
  }
  for (const auto& [a, b, weight, place] : problem.links) {
    const double w = weight * std::exp(shift[a] - shift[b]);
    point.total += w;
    point.mean[a] += w;
    point.mean[b] -= w;
    point.curvature[a] += w;
    point.curvature[b] += w;
    point.coupling[place] -= w;
  }
  for (std::size_t a = 0; a < n; ++a) {
    point.mean[a] /= point.total;
    point.curvature[a] /= point.total;
    point.gradient[a] = point.mean[a] - problem.share[a];
  }
  for (double& value : point.coupling) value /= point.total;
  double linear = 0, size = std::abs(std::log(point.total));
  for (std::size_t a = 0; a < n; ++a) {
    linear += problem.share[a] * shift[a];
    size += std::abs(problem.share[a] * shift[a]);
  }
  point.objective = std::log(point.total) - linear;
  point.rounding = rounding_of(size);
  return point;
}

std::vector<double> minimise(const CoarseProblem& problem) {
  constexpr int kMaxSteps = 25;         // of kLongestStep at most: the shifts stay in range
  constexpr double kTolerance = 1e-15;  // rounding level of shares, which sum to 1
  constexpr double kLongestStep = 8;    // quadratic models of exp are worthless farther away
  std::vector<double> shift(problem.share.size(), 0.0);
  CoarsePoint point = evaluate(problem, shift);
  for (int iteration = 0; iteration < kMaxSteps; ++iteration) {
    if (!(max_norm(point.gradient) > kTolerance)) break;
    // Groups that carry next to nothing of the total have a slope but no curvature: without this
    // term, which vanishes at the minimum, their step would be rounding noise.
    const double damping = max_norm(point.gradient) / kLongestStep;
    for (double& value : point.curvature) value += damping;
    std::vector<double> step = point.gradient;
    SparseFactor(problem.pattern, point.curvature, point.coupling, point.mean).solve(step);
    double length = std::min(1.0, kLongestStep / max_norm(step));
    double slope = 0;
    for (std::size_t a = 0; a < step.size(); ++a) slope += point.gradient[a] * step[a];
    bool improved = false;
    for (int halving = 0; halving < 20 && !improved; ++halving, length /= 2) {
      std::vector<double> next(shift);
      for (std::size_t a = 0; a < next.size(); ++a) next[a] -= length * step[a];
      CoarsePoint trial = evaluate(problem, next);
      improved = slope * length <= point.rounding
                     ? max_norm(trial.gradient) < max_norm(point.gradient)
                     : trial.objective < point.objective;
      if (!improved) continue;
      shift = std::move(next);
      point = std::move(trial);
    }
    if (!improved) break;
  }
  return shift;
}

}  // namespace pathcond
