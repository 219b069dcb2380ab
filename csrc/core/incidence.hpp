#pragma once

#include <cstdint>
#include <span>

#include "pathcond/solve.hpp"

namespace pathcond {

/// Throws InvalidInput when an index or value is out of its range, NotCanonical when a column's
/// rows are not strictly increasing. Nothing else in the core looks at B before this has passed.
template <class Index, class Value>
void validate(const IncidenceView<Index, Value>& B);

/// What one look at g tells.
struct WeightSummary {
  std::int64_t positive = 0;  ///< rows that stay in the problem
  int exponent = 0;           ///< g is below 2^exponent
};

/// The power of two by which g is multiplied before sums are taken, so that they neither overflow
/// nor lose small entries next to large ones; a common factor of g changes F by a constant only.
double scale_for(const WeightSummary& summary);

/// Throws InvalidInput at the first negative, infinite or NaN entry of g.
template <class G>
WeightSummary validate(std::span<const G> g);

}  // namespace pathcond
