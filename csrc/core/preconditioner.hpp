#pragma once

#include <cstdint>
#include <vector>

#include "core/forest.hpp"
#include "core/objective.hpp"

namespace pathcond {

/// T^-1 + P (P^T H P)^-1 P^T, H with its damping: T is H's diagonal and its strongest couplings,
/// P repeats one shift per coarse group over its neurons. The first cares for differences between
/// neurons, the second for slow modes across layers.
class Preconditioner {
 public:
  Preconditioner(Objective& objective, const Point& point, double damping)
      : coarse_(objective.coarse()),
        groups_(objective.coarse_groups()),
        factor_(objective.coarse_hessian(damping)),
        forest_(damped(point, damping), objective.strong_couplings()),
        active_(point.u.size()) {
    for (std::size_t k = 0; k < active_.size(); ++k) active_[k] = moves(point, k);
  }

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
  static bool moves(const Point& point, std::size_t k) {
    return point.curvature[k] > 0 || point.gradient[k] != 0;
  }

  static std::vector<double> damped(const Point& point, double damping) {
    std::vector<double> diagonal = point.curvature;
    for (std::size_t k = 0; k < diagonal.size(); ++k)
      if (moves(point, k)) diagonal[k] += damping;
    return diagonal;
  }

  const std::vector<std::int32_t>& coarse_;
  std::int32_t groups_;
  SparseFactor factor_;
  Forest forest_;
  std::vector<char> active_;
};

}  // namespace pathcond
