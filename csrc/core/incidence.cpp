#include "core/incidence.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <sstream>
#include <string>
#include <type_traits>

#include "core/instantiate.hpp"
#include "core/simd.hpp"

namespace pathcond {
namespace {

/// Squares and products with u of larger entries overflow.
constexpr float kLargestValue = 1e30F;

}  // namespace

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
    const std::span<const Index> rows(B.indices + B.begin(h), B.indices + B.end(h));
    if (rows.empty()) continue;
    bool increasing = true;
    for (std::size_t k = 1; k < rows.size(); ++k) increasing &= rows[k] > rows[k - 1];
    Index smallest = rows.front(), largest = rows.back();
    if (!increasing) {
      canonical = false;
      smallest = *std::min_element(rows.begin(), rows.end());
      largest = *std::max_element(rows.begin(), rows.end());
    }
    if (smallest < 0 || largest >= B.rows)
      throw InvalidInput("B: row indices must lie in [0, " + to_string(B.rows) + "), but column " +
                         to_string(h) + " has " + to_string(smallest < 0 ? smallest : largest));
    if constexpr (std::is_floating_point_v<Value>) {
      bool finite = true;
      for (std::int64_t k = B.begin(h); k < B.end(h); ++k)
        finite &= std::abs(B.values[k]) <= kLargestValue;
      if (!finite)
        throw InvalidInput("B: entries must be finite and at most 1e30 in size, but column " +
                           to_string(h) + " has another");
    }
  }
  if (!canonical) throw NotCanonical("B: unsorted or repeated row indices");
}

double scale_for(const WeightSummary& summary) {
  // The sum of all rows stays below 2^1023.
  const int bits = std::ilogb(static_cast<double>(std::max<std::int64_t>(summary.positive, 1))) + 1;
  return std::ldexp(1.0, std::min(1022 - bits - summary.exponent, 1023));
}

namespace {

std::string text(double value) {
  std::ostringstream stream;
  stream << value;
  return stream.str();
}

template <class G>
[[noreturn]] void report_first_invalid(std::span<const G> g) {
  const auto bad = std::find_if(g.begin(), g.end(), [](G value) {
    return !(value >= 0 && value <= std::numeric_limits<G>::max());
  });
  throw InvalidInput("g: entries must be finite and non-negative, but g[" +
                     std::to_string(bad - g.begin()) + "] is " + text(static_cast<double>(*bad)));
}

/// Only where g has to be scaled down can its smallest entries be lost.
template <class G>
void refuse_underflow(std::span<const G> g, double scale) {
  if (scale >= 1) return;
  for (std::size_t i = 0; i < g.size(); ++i)
    if (g[i] > 0 && static_cast<double>(g[i]) * scale == 0)
      throw InvalidInput("g: g[" + std::to_string(i) + "] = " + text(static_cast<double>(g[i])) +
                         " is too small next to the largest entry for sums in double precision");
}

}  // namespace

template <class G>
PATHCOND_SIMD WeightSummary validate(std::span<const G> g) {
  WeightSummary summary;
  G largest = 0;
  bool valid = true;
  std::int64_t zeros = 0;
  for (const G value : g) {
    valid &= value >= 0;  // false for NaN
    zeros += value == 0;
    largest = value > largest ? value : largest;
  }
  if (!valid || largest > std::numeric_limits<G>::max()) report_first_invalid(g);
  summary.positive = std::ssize(g) - zeros;
  if (largest > 0) summary.exponent = std::ilogb(largest) + 1;
  refuse_underflow(g, scale_for(summary));
  return summary;
}

#define PATHCOND_VALIDATE(Index, Value) template void validate(const IncidenceView<Index, Value>&);
PATHCOND_FOR_EACH_INCIDENCE(PATHCOND_VALIDATE)
template WeightSummary validate(std::span<const float>);
template WeightSummary validate(std::span<const double>);

}  // namespace pathcond
