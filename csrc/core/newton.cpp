#include "core/newton.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

namespace pathcond {
namespace {

using Vector = std::vector<double>;

double inner(const Vector& a, const Vector& b) {
  return std::inner_product(a.begin(), a.end(), b.begin(), 0.0);
}

/// diag^-1 + P (P^T H P)^-1 P^T, P the coarse groups.
class Preconditioner {
 public:
  Preconditioner(Objective& objective, const Vector& curvature)
      : coarse_(objective.coarse()), groups_(objective.coarse_groups()),
        factor_(objective.coarse_hessian()), inverse_(curvature.size()) {
    for (std::size_t k = 0; k < curvature.size(); ++k)
      inverse_[k] = curvature[k] > 0 ? 1 / curvature[k] : 0;
  }

  void apply(const Vector& r, Vector& z) const {
    Vector sums(static_cast<std::size_t>(groups_), 0.0);
    for (std::size_t k = 0; k < r.size(); ++k) sums[coarse_[k]] += r[k];
    factor_.solve(sums);
    for (std::size_t k = 0; k < r.size(); ++k)
      z[k] = inverse_[k] * r[k] + (inverse_[k] > 0 ? sums[coarse_[k]] : 0);
  }

 private:
  const std::vector<std::int32_t>& coarse_;
  std::int32_t groups_;
  DenseFactor factor_;
  Vector inverse_;
};

/// Approximate solution of H z = -gradient by conjugate gradients.
Vector newton_direction(Objective& objective, const Point& point, double tolerance) {
  constexpr int kMaxIterations = 500;
  const std::size_t n = point.u.size();
  const Preconditioner preconditioner(objective, point.curvature);
  Vector z(n, 0.0), r(n), s(n), direction(n), product(n);
  std::transform(point.gradient.begin(), point.gradient.end(), r.begin(), [](double g) { return -g; });
  preconditioner.apply(r, s);
  direction = s;
  double rs = inner(r, s);
  const double start = rs;
  // Superlinear convergence needs a forcing term that vanishes with the gradient; the inner
  // product is about twice the expected decrease of F/p, hence free of units.
  const double forcing = std::min(0.1, std::pow(std::max(start, 0.0), 0.25));
  for (int iteration = 0; iteration < kMaxIterations && rs > 0; ++iteration) {
    objective.hessian_product(direction, product);
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
  constexpr double kLongestStep = 20;  // no exponential overflows within one step
  constexpr int kMaxHalvings = 40;
  Point trial(point.u.size());
  while (max_norm(point.gradient) > tolerance) {
    if (progress.exhausted()) return progress.status();
    const Vector direction = newton_direction(objective, point, tolerance);
    const double slope = inner(point.gradient, direction);
    double length = std::min(1.0, kLongestStep / max_norm(direction));
    bool accepted = false;
    for (int halving = 0; halving < kMaxHalvings && slope < 0 && !accepted; ++halving) {
      for (std::size_t k = 0; k < trial.u.size(); ++k)
        trial.u[k] = point.u[k] + length * direction[k];
      objective.evaluate(trial);
      accepted = std::abs(trial.value - point.value) <= objective_noise(point.value)
                     ? max_norm(trial.gradient) < max_norm(point.gradient)
                     : trial.value <= point.value + 1e-4 * length * slope;
      length /= 2;
    }
    if (!accepted) {
      objective.evaluate(point);
      return Status::stalled;
    }
    std::swap(point, trial);
    if (progress.record(point.value, max_norm(point.gradient)) &&
        max_norm(point.gradient) > tolerance)
      return progress.status();
  }
  return Status::converged;
}

}  // namespace pathcond
