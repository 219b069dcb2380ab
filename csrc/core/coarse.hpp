#pragma once

#include <cstdint>
#include <vector>

namespace pathcond {

/// A pair problem summed over coarse groups: what F is as a function of one common shift per group.
struct CoarseProblem {
  explicit CoarseProblem(std::int32_t groups)
      : size(static_cast<std::size_t>(groups)),
        pair(size * size),
        leave(size),
        enter(size),
        share(size) {}

  std::size_t size;
  std::vector<double> pair;   ///< size x size: sum of w over rows that leave A and enter B
  std::vector<double> leave;  ///< rows that only leave the group
  std::vector<double> enter;  ///< rows that only enter it
  std::vector<double> share;  ///< d / p
  double constant = 0;        ///< empty rows, and rows that leave and enter the same group

  void add_pair(std::int32_t a, std::int32_t b, double weight) {
    if (a == b)
      constant += weight;
    else
      pair[static_cast<std::size_t>(a) * size + static_cast<std::size_t>(b)] += weight;
  }
};

/// F/p, its gradient and its Hessian at common shifts s.
struct CoarsePoint {
  double total;      ///< S
  double objective;  ///< log S - share . s
  std::vector<double> gradient;
  std::vector<double> hessian;  ///< size x size
};

CoarsePoint evaluate(const CoarseProblem& problem, const std::vector<double>& shift);

/// Shifts that minimise F, by damped Newton from 0; never worse than 0.
std::vector<double> minimise(const CoarseProblem& problem);

}  // namespace pathcond
