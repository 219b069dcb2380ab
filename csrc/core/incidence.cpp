#include "core/incidence.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "core/errors.hpp"
#include "core/instantiate.hpp"

namespace pathcond {

template <class Index, class Value>
void validate(const IncidenceView<Index, Value>& B) {
  using std::to_string;
  if (B.columns >= std::numeric_limits<std::int32_t>::max())
    throw InvalidInput("B: at most 2^31 - 2 columns (neurons) are supported, got " +
                       to_string(B.columns));
  if (B.indptr[0] != 0)
    throw InvalidInput("B: indptr must start at 0, got " + to_string(B.indptr[0]));
  for (std::int64_t h = 0; h < B.columns; ++h)
    if (B.indptr[h + 1] < B.indptr[h])
      throw InvalidInput("B: indptr must not decrease, but it does at column " + to_string(h));
  if (B.indptr[B.columns] > B.entries)
    throw InvalidInput("B: indptr ends at " + to_string(B.indptr[B.columns]) + ", but only " +
                       to_string(B.entries) + " entries are stored");

  bool canonical = true;
  for (std::int64_t h = 0; h < B.columns; ++h) {
    Index previous = -1;
    Index smallest = 0;
    Index largest = 0;
    bool increasing = true;
    bool finite = true;
    for (std::int64_t k = B.begin(h); k < B.end(h); ++k) {
      const Index row = B.indices[k];
      smallest = std::min(smallest, row);
      largest = std::max(largest, row);
      increasing &= row > previous;
      previous = row;
      if constexpr (std::is_floating_point_v<Value>) finite &= std::isfinite(B.values[k]);
    }
    if (smallest < 0 || (B.begin(h) < B.end(h) && largest >= B.rows))
      throw InvalidInput("B: row indices must lie in [0, " + to_string(B.rows) + "), but column " +
                         to_string(h) + " has " + to_string(smallest < 0 ? smallest : largest));
    if (!finite)
      throw InvalidInput("B: entries must be finite, but column " + to_string(h) +
                         " has NaN or infinity");
    canonical &= increasing;
  }
  if (!canonical) throw NotCanonical("B: unsorted or repeated row indices");
}

double scale_for(const WeightSummary& summary) {
  // 2^1023 is the largest power of two; a g of denormals alone stays small, which is harmless.
  return std::ldexp(1.0, std::min(-summary.exponent, 1023));
}

template <class G>
WeightSummary validate(std::span<const G> g) {
  WeightSummary summary;
  double largest = 0;
  for (std::size_t i = 0; i < g.size(); ++i) {
    const auto value = static_cast<double>(g[i]);
    if (!(value >= 0) || value > std::numeric_limits<double>::max())
      throw InvalidInput("g: entries must be finite and non-negative, but g[" + std::to_string(i) +
                         "] is " + std::to_string(value));
    summary.positive += value > 0;
    largest = std::max(largest, value);
  }
  if (largest > 0) summary.exponent = std::ilogb(largest) + 1;
  return summary;
}

#define PATHCOND_VALIDATE(Index, Value) template void validate(const IncidenceView<Index, Value>&);
PATHCOND_FOR_EACH_INCIDENCE(PATHCOND_VALIDATE)
template WeightSummary validate(std::span<const float>);
template WeightSummary validate(std::span<const double>);

}  // namespace pathcond
