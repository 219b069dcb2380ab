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

/// The diagonally scaled gradient's step, cut off at the edges of the box.
Vector scaled_step(const Box& box, const Point& point) {
  Vector step(point.u.size(), 0.0);
  for (std::size_t k = 0; k < step.size(); ++k)
    if (point.curvature[k] > 0)
      step[k] = box.clip(point.u[k] - point.gradient[k] / point.curvature[k]) - point.u[k];
  return step;
}

/// False for neurons at an edge of the box that F pushes against it, or so near to one that a step
/// shorter than the longest scaled one leads there: counting only those at the edge, steps could
/// get shorter and shorter.
std::vector<char> free_neurons(const Box& box, const Point& point, double longest) {
  const double edge = box.bound - std::min(longest, 1e-3 * box.bound);
  std::vector<char> free(point.u.size());
  for (std::size_t k = 0; k < free.size(); ++k)
    free[k] = !((point.u[k] >= edge && point.gradient[k] < 0) ||
                (point.u[k] <= -edge && point.gradient[k] > 0));
  return free;
}

/// Approximate solution of (H + damping) z = -gradient over the free neurons by conjugate
/// gradients; the scaled step for the others.
Vector newton_direction(Objective& objective, const Box& box, const Point& point, double damping,
                        double tolerance) {
  constexpr int kMaxIterations = 500;
  const std::size_t n = point.u.size();
  const Vector scaled = scaled_step(box, point);
  const auto free = free_neurons(box, point, max_norm(scaled));
  const Preconditioner preconditioner(objective, point, damping, free);
  Vector z(n, 0.0), r(n), s(n), direction(n), product(n);
  for (std::size_t k = 0; k < n; ++k) r[k] = free[k] ? -point.gradient[k] : 0;
  preconditioner.apply(r, s);
  direction = s;
  double rs = inner(r, s);
  const double start = rs;
  // Superlinear convergence needs a forcing term that vanishes with the gradient; the inner
  // product is about twice the expected decrease of F/p, hence free of units.
  const double forcing = std::min(0.5, std::pow(std::max(start, 0.0), 0.25));
  for (int iteration = 0; iteration < kMaxIterations && rs > 0; ++iteration) {
    objective.hessian_product(direction, product);
    for (std::size_t k = 0; k < n; ++k)
      product[k] = free[k] ? product[k] + damping * direction[k] : 0;
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
  for (std::size_t k = 0; k < n; ++k)
    if (!free[k]) z[k] = scaled[k];
  return z;
}

}  // namespace

Status newton(Objective& objective, const Box& box, Point& point, double tolerance,
              Progress& progress) {
  Point trial(point.u.size());
  double size = box.stationarity(point);
  while (!(size <= tolerance)) {
    if (progress.exhausted()) return progress.status();
    // Directions along which F is almost linear get a bounded step; the term vanishes faster than
    // the gradient, so that convergence stays superlinear where the curvature is tiny. Where it is
    // tiny in many directions, as over dozens of decades, a larger term costs more steps.
    constexpr double kDamping = 0.01;
    const double damping = kDamping * size * std::min(1 / kLongestStep, std::sqrt(size));
    const Vector direction = newton_direction(objective, box, point, damping, tolerance);
    // Cut off at the edges, a Newton step may lead uphill; the scaled gradient's does not.
    if (!line_search(objective, box, point, direction, trial) &&
        !(std::isfinite(box.bound) &&
          line_search(objective, box, point, scaled_step(box, point), trial)))
      return Status::stalled;
    size = box.stationarity(point);
    if (progress.record(point.value, size) && size > tolerance) return progress.status();
  }
  return Status::converged;
}

}  // namespace pathcond
