#include "core/newton.hpp"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "core/line_search.hpp"
#include "core/preconditioner.hpp"

namespace pathcond {
namespace {

using Vector = std::vector<double>;

/// Approximate solution of (H + damping) z = -gradient by conjugate gradients.
Vector newton_direction(Objective& objective, const Point& point, double damping,
                        double tolerance) {
  constexpr int kMaxIterations = 500;
  const std::size_t n = point.u.size();
  const Preconditioner preconditioner(objective, point, damping);
  Vector z(n, 0.0), r(n), s(n), direction(n), product(n);
  std::transform(point.gradient.begin(), point.gradient.end(), r.begin(),
                 [](double g) { return -g; });
  preconditioner.apply(r, s);
  direction = s;
  double rs = inner(r, s);
  const double start = rs;
  // Superlinear convergence needs a forcing term that vanishes with the gradient; the inner
  // product is about twice the expected decrease of F/p, hence free of units.
  const double forcing = std::min(0.5, std::pow(std::max(start, 0.0), 0.25));
  for (int iteration = 0; iteration < kMaxIterations && rs > 0; ++iteration) {
    objective.hessian_product(direction, product);
    for (std::size_t k = 0; k < n; ++k) product[k] += damping * direction[k];
    const double bend = inner(direction, product);
    if (!(bend > 0)) {
      if (iteration == 0) z = direction;
      break;
    }
    const double length = rs / bend;
    for (std::size_t k = 0; k < n; ++k) {
      z[k] += length * direction[k];
      r[k] -= length * product[k];
    }
    if (max_norm(r) <= 0.25 * tolerance) break;
    preconditioner.apply(r, s);
    const double next = inner(r, s);
    if (next <= forcing * forcing * start) break;
    for (std::size_t k = 0; k < n; ++k) direction[k] = s[k] + next / rs * direction[k];
    rs = next;
  }
  return z;
}

}  // namespace

Status newton(Objective& objective, Point& point, double tolerance, Progress& progress) {
  Point trial(point.u.size());
  while (!(max_norm(point.gradient) <= tolerance)) {
    if (progress.exhausted()) return progress.status();
    // Directions along which F is almost linear get a bounded step; the term vanishes faster than
    // the gradient, so that convergence stays superlinear where the curvature is tiny.
    const double size = max_norm(point.gradient);
    const double damping = size * std::min(1 / kLongestStep, std::sqrt(size));
    const Vector direction = newton_direction(objective, point, damping, tolerance);
    if (!line_search(objective, point, direction, trial)) return Status::stalled;
    if (progress.record(point.value, max_norm(point.gradient)) &&
        max_norm(point.gradient) > tolerance)
      return progress.status();
  }
  return Status::converged;
}

}  // namespace pathcond
