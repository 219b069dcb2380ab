#pragma once

#include <cstdint>
#include <vector>

#include "core/objective.hpp"

namespace pathcond {

/// diag^-1 + P (P^T H P)^-1 P^T, P the coarse groups, H with its damping.
class Preconditioner {
 public:
  Preconditioner(Objective& objective, const std::vector<double>& curvature, double damping)
      : coarse_(objective.coarse()), groups_(objective.coarse_groups()),
        factor_(objective.coarse_hessian(damping)), inverse_(curvature.size()) {
    for (std::size_t k = 0; k < curvature.size(); ++k)
      inverse_[k] = curvature[k] > 0 ? 1 / (curvature[k] + damping) : 0;
  }

  void apply(const std::vector<double>& r, std::vector<double>& z) const {
    std::vector<double> sums(static_cast<std::size_t>(groups_), 0.0);
    for (std::size_t k = 0; k < r.size(); ++k) sums[coarse_[k]] += r[k];
    factor_.solve(sums);
    for (std::size_t k = 0; k < r.size(); ++k)
      z[k] = inverse_[k] * r[k] + (inverse_[k] > 0 ? sums[coarse_[k]] : 0);
  }

 private:
  const std::vector<std::int32_t>& coarse_;
  std::int32_t groups_;
  DenseFactor factor_;
  std::vector<double> inverse_;
};

}  // namespace pathcond
