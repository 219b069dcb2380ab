#include "core/lbfgs.hpp"

#include <deque>
#include <optional>
#include <vector>

#include "core/line_search.hpp"
#include "core/preconditioner.hpp"

namespace pathcond {
namespace {

using Vector = std::vector<double>;

constexpr std::size_t kMemory = 40;
/// Steps that share one factored coarse Hessian.
constexpr int kRefresh = 4;

/// A step and the change of gradient that it made.
struct Pair {
  Vector step, change;
  double product;
};

Vector subtract(const Vector& a, const Vector& b) {
  Vector c(a.size());
  for (std::size_t k = 0; k < a.size(); ++k) c[k] = a[k] - b[k];
  return c;
}

void add(Vector& to, double factor, const Vector& from) {
  for (std::size_t k = 0; k < to.size(); ++k) to[k] += factor * from[k];
}

/// The two-loop recursion: -(inverse Hessian estimate) gradient.
Vector quasi_newton_direction(const Vector& gradient, const std::deque<Pair>& memory,
                              const Preconditioner& preconditioner) {
  Vector r(gradient.size());
  for (std::size_t k = 0; k < r.size(); ++k) r[k] = -gradient[k];
  Vector weight(memory.size());
  for (std::size_t j = memory.size(); j-- > 0;) {
    weight[j] = inner(memory[j].step, r) / memory[j].product;
    add(r, -weight[j], memory[j].change);
  }
  Vector z(r.size());
  if (!memory.empty()) {
    const Pair& last = memory.back();
    preconditioner.apply(last.change, z);
    const double scale = last.product / inner(last.change, z);
    for (double& value : r) value *= scale;
  }
  preconditioner.apply(r, z);
  for (std::size_t j = 0; j < memory.size(); ++j)
    add(z, weight[j] - inner(memory[j].change, z) / memory[j].product, memory[j].step);
  return z;
}

}  // namespace

Status lbfgs(Objective& objective, Point& point, double tolerance, Progress& progress) {
  Point trial(point.u.size());
  std::deque<Pair> memory;
  std::optional<Preconditioner> preconditioner;
  for (int age = 0; max_norm(point.gradient) > tolerance; ++age) {
    if (progress.exhausted()) return progress.status();
    if (age % kRefresh == 0)
      preconditioner.emplace(objective, point.curvature,
                             max_norm(point.gradient) / kLongestStep);
    const Vector direction = quasi_newton_direction(point.gradient, memory, *preconditioner);
    if (!line_search(objective, point, direction, trial)) {
      if (memory.empty()) return Status::stalled;
      memory.clear();
      continue;
    }
    Pair pair{subtract(point.u, trial.u), subtract(point.gradient, trial.gradient), 0};
    pair.product = inner(pair.step, pair.change);
    if (pair.product > 0) memory.push_back(std::move(pair));
    if (memory.size() > kMemory) memory.pop_front();
    if (progress.record(point.value, max_norm(point.gradient)) &&
        max_norm(point.gradient) > tolerance)
      return progress.status();
  }
  return Status::converged;
}

}  // namespace pathcond
