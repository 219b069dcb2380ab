#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "core/sparse_factor.hpp"

namespace pathcond {

/// A pair problem summed over coarse groups: F as a function of one common shift per group.
struct CoarseProblem {
  /// Sum of w over the rows that leave group a and enter group b.
  struct Link {
    std::int32_t a, b;
    double weight;
    std::size_t place;  ///< in the pattern
  };

  explicit CoarseProblem(const SparsePattern& sparsity)
      : pattern(sparsity), leave(pattern.size()), enter(pattern.size()), share(pattern.size()) {}

  const SparsePattern& pattern;
  std::vector<Link> links;
  std::vector<double> leave;  ///< rows that only leave the group
  std::vector<double> enter;  ///< rows that only enter it
  std::vector<double> share;  ///< d / p
  double constant = 0;        ///< empty rows, and rows that leave and enter the same group

  void add_pair(std::int32_t a, std::int32_t b, double weight) {
    if (a == b)
      constant += weight;
    else
      links.push_back({a, b, weight, pattern.place(a, b)});
  }
};

/// F/p at common shifts, and its derivatives: the Hessian is curvature (diagonal) + coupling
/// (off-diagonal, in the pattern) - mean mean^T.
struct CoarsePoint {
  double total;      ///< S
  double objective;  ///< log S - share . s
  double rounding;   ///< of the objective
  std::vector<double> mean, gradient, curvature, coupling;
};

CoarsePoint evaluate(const CoarseProblem& problem, const std::vector<double>& shift);

/// Shifts that minimise F, by damped Newton from 0; never worse than 0.
std::vector<double> minimise(const CoarseProblem& problem);

}  // namespace pathcond
