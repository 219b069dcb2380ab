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
  Preconditioner(Objective& objective, const std::vector<double>& curvature, double damping)
      : coarse_(objective.coarse()),
        groups_(objective.coarse_groups()),
        factor_(objective.coarse_hessian(damping)),
        forest_(damped(curvature, damping), objective.strong_couplings()),
        active_(curvature.size()) {
    for (std::size_t k = 0; k < curvature.size(); ++k) active_[k] = curvature[k] > 0;
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
  static std::vector<double> damped(std::vector<double> curvature, double damping) {
    for (double& value : curvature)
      if (value > 0) value += damping;
    return curvature;
  }

  const std::vector<std::int32_t>& coarse_;
  std::int32_t groups_;
  SparseFactor factor_;
  Forest forest_;
  std::vector<char> active_;
};

}  // namespace pathcond
