#pragma once

#include <cstdint>
#include <span>

namespace pathcond {

/// The matrix B (p rows, H columns) as compressed sparse columns, borrowed from the caller.
/// +1: the row's parameter leaves the column's neuron, -1: it enters it; other reals are allowed.
template <class Index, class Value>
struct IncidenceView {
  std::int64_t rows;     ///< p
  std::int64_t columns;  ///< H
  const Index* indptr;   ///< H + 1
  const Index* indices;  ///< indptr[H]
  const Value* values;   ///< indptr[H]
  std::int64_t entries;  ///< length of `indices` and `values`

  std::int64_t begin(std::int64_t column) const { return indptr[column]; }
  std::int64_t end(std::int64_t column) const { return indptr[column + 1]; }
};

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
