#pragma once

#include <cstddef>
#include <vector>

namespace pathcond {

/// LDL^T of a symmetric positive semi-definite matrix; directions without curvature are left out.
class DenseFactor {
 public:
  /// `matrix`: n x n, row-major, consumed. A pivot below kRelativePivot times its diagonal entry
  /// is rounding noise: its unknown is fixed at 0.
  DenseFactor(std::vector<double> matrix, std::size_t n) : n_(n), l_(std::move(matrix)), d_(n) {
    for (std::size_t j = 0; j < n; ++j) {
      const double diagonal = at(j, j);
      double pivot = diagonal;
      for (std::size_t k = 0; k < j; ++k) pivot -= at(j, k) * at(j, k) * d_[k];
      d_[j] = pivot > kRelativePivot * diagonal ? pivot : 0;
      for (std::size_t i = j + 1; i < n; ++i) {
        double sum = at(i, j);
        for (std::size_t k = 0; k < j; ++k) sum -= at(i, k) * at(j, k) * d_[k];
        at(i, j) = d_[j] > 0 ? sum / d_[j] : 0;
      }
    }
  }

  /// Overwrites b with the solution.
  void solve(std::vector<double>& b) const {
    for (std::size_t i = 0; i < n_; ++i)
      for (std::size_t k = 0; k < i; ++k) b[i] -= at(i, k) * b[k];
    for (std::size_t i = 0; i < n_; ++i) b[i] = d_[i] > 0 ? b[i] / d_[i] : 0;
    for (std::size_t i = n_; i-- > 0;)
      for (std::size_t k = i + 1; k < n_; ++k) b[i] -= at(k, i) * b[k];
  }

 private:
  static constexpr double kRelativePivot = 1e-13;
  double& at(std::size_t i, std::size_t j) { return l_[i * n_ + j]; }
  double at(std::size_t i, std::size_t j) const { return l_[i * n_ + j]; }

  std::size_t n_;
  std::vector<double> l_, d_;
};

}  // namespace pathcond
