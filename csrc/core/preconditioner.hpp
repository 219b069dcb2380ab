#pragma once

#include <cstdint>
#include <vector>

#include "core/forest.hpp"
#include "core/objective.hpp"

namespace pathcond {

/// T^-1 + P (P^T H P)^-1 P^T, H with its damping, over the neurons that are free: T is H's diagonal
/// and its strongest couplings, P repeats one shift per coarse group over its neurons. The first
/// cares for differences between neurons, the second for slow modes across layers.
class Preconditioner {
 public:
  Preconditioner(Objective& objective, const Point& point, double damping,
                 const std::vector<char>& free)
      : coarse_(objective.coarse()),
        groups_(objective.coarse_groups()),
        active_(moving(point, free)),
        factor_(objective.coarse_hessian(damping, free)),
        forest_(damped(point, damping), among_active(objective.strong_couplings())) {}

  void apply(const std::vector<double>& r, std::vector<double>& z) const {
    std::vector<double> sums(static_cast<std::size_t>(groups_), 0.0);
    for (std::size_t k = 0; k < r.size(); ++k) sums[coarse_[k]] += r[k];
    factor_.solve(sums);
    forest_.solve(r, z);
    for (std::size_t k = 0; k < r.size(); ++k)
      if (active_[k]) z[k] += sums[coarse_[k]];
  }

 private:
  /// Neurons without a row have neither slope nor curvature. Those whose rows are all out of sight
  /// have a slope only.
  static std::vector<char> moving(const Point& point, std::vector<char> free) {
    for (std::size_t k = 0; k < free.size(); ++k)
      free[k] = free[k] && (point.curvature[k] > 0 || point.gradient[k] != 0);
    return free;
  }

  std::vector<double> damped(const Point& point, double damping) const {
    std::vector<double> diagonal(active_.size(), 0.0);
    for (std::size_t k = 0; k < diagonal.size(); ++k)
      if (active_[k]) diagonal[k] = point.curvature[k] + damping;
    return diagonal;
  }

  std::vector<Coupling> among_active(std::vector<Coupling> couplings) const {
    std::erase_if(couplings, [&](const Coupling& c) { return !active_[c.a] || !active_[c.b]; });
    return couplings;
  }

  const std::vector<std::int32_t>& coarse_;
  std::int32_t groups_;
  std::vector<char> active_;
  SparseFactor factor_;
  Forest forest_;
};

}  // namespace pathcond
