#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "core/factor.hpp"

namespace pathcond {

/// Where a symmetric n x n matrix has off-diagonal entries, and the order and fill of its
/// elimination (minimum degree). Found once, used for every matrix with the same entries.
class SparsePattern {
 public:
  /// `edges`: off-diagonal places (a, b), a != b, in any order and orientation, repeats allowed.
  SparsePattern(std::int32_t n, const std::vector<std::pair<std::int32_t, std::int32_t>>& edges);

  std::size_t size() const { return order_.size(); }
  /// Entries below the diagonal, fill included.
  std::size_t entries() const { return row_.size(); }
  /// Place of (a, b) among the entries.
  std::size_t place(std::int32_t a, std::int32_t b) const;
  /// Of what this holds.
  PatternView view() const;

 private:
  std::vector<std::int32_t> order_, ptr_, row_, left_ptr_, column_, place_;  ///< see `PatternView`
  std::vector<std::int32_t> position_;                                       ///< inverse of order_
};

/// LDL^T of A - m m^T, A symmetric positive definite up to directions without curvature, which
/// get a zero in the solution.
class SparseFactor {
 public:
  /// `diagonal`: n; `lower`: one value per entry of the pattern; `rank_one`: m.
  SparseFactor(const SparsePattern& pattern, const std::vector<double>& diagonal,
               std::vector<double> lower, std::vector<double> rank_one);

  /// Overwrites b with the solution.
  void solve(std::vector<double>& b) const;

 private:
  void solve_without_rank_one(std::vector<double>& b) const;

  PatternView pattern_;
  std::vector<double> l_, pivot_;
  std::vector<double> rank_one_, solved_rank_one_;
  double weight_ = 0;  ///< 1 / (1 - m^T A^-1 m)
};

}  // namespace pathcond
