#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "core/coarse_step.hpp"
#include "core/sparse_factor.hpp"

namespace pathcond {

/// Coarse groups, and which of them rows leave and enter.
class CoarseShape {
 public:
  using Links = std::vector<std::pair<std::int32_t, std::int32_t>>;

  /// `links`: (left, entered), maybe the same.
  CoarseShape(std::int32_t groups, const Links& links);

  const SparsePattern& pattern() const { return pattern_; }
  std::int64_t groups() const { return static_cast<std::int64_t>(pattern_.size()); }
  std::int64_t links() const { return links_; }
  std::int64_t entries() const { return static_cast<std::int64_t>(pattern_.entries()); }
  /// All tables, one after the other, for whoever takes them elsewhere.
  const std::vector<std::int32_t>& numbers() const { return numbers_; }
  /// Of these numbers, wherever they are.
  CoarseTables tables(const std::int32_t* numbers) const;
  CoarseTables tables() const { return tables(numbers_.data()); }

 private:
  SparsePattern pattern_;
  std::int32_t links_;
  std::vector<std::int32_t> numbers_;
  std::vector<std::size_t> begin_;  ///< of every table
};

/// A pair problem summed over coarse groups: F as a function of one common shift per group.
struct CoarseProblem {
  explicit CoarseProblem(const CoarseShape& coarse_shape)
      : shape(coarse_shape),
        leave(shape.groups()),
        enter(shape.groups()),
        share(shape.groups()),
        link(shape.links()) {}

  CoarseWeights weights() const {
    return {constant, leave.data(), enter.data(), share.data(), link.data()};
  }

  const CoarseShape& shape;
  double constant = 0;  ///< see `CoarseWeights`
  std::vector<double> leave, enter, share, link;
};

/// F/p at a point, and where its arrays are.
struct CoarsePoint {
  CoarseValue value;
  CoarseArrays arrays;
  std::vector<double> memory;
};

/// At shifts of 0.
CoarsePoint evaluate(const CoarseProblem& problem);

/// See `CoarseMinimum`.
struct CoarseShifts {
  std::vector<double> shift;
  CoarseValue value;
};
CoarseShifts minimise(const CoarseProblem& problem);

}  // namespace pathcond
