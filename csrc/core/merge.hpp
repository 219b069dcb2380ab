#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "core/incidence.hpp"
#include "core/monitor.hpp"

/// Rows of B that are equal enter F only through the sum of their g, and their number through p
/// and d: merging them is exact. Rows with g = 0 leave the problem.
namespace pathcond {

/// A merged problem in which every row leaves at most one neuron and enters at most one.
struct PairProblem {
  std::int32_t neurons = 0;             ///< H
  std::int64_t rows = 0;                ///< p: rows of B with g > 0, before merging
  double constant = 0;                  ///< weight of the empty rows
  double log_scale = 0;                 ///< weights are g exp(-log_scale)
  std::vector<double> degree;           ///< H: d = #leaving - #entering, before merging
  std::vector<std::uint8_t> frozen;     ///< H: no row with g > 0 touches the neuron
  std::vector<double> leave_only;       ///< H: weight of the rows that only leave h
  std::vector<double> enter_only;       ///< H: weight of the rows that only enter h
  std::vector<std::int64_t> enter_ptr;  ///< H + 1: pairs that enter h
  std::vector<std::int32_t> leave;      ///< M: the neuron that the pair leaves
  std::vector<double> weight;           ///< M

  /// See `normalise` below.
  bool normalise();

  std::int64_t pairs() const { return static_cast<std::int64_t>(leave.size()); }
};

/// Multiplies merged weights by a power of two so that the largest is about 1, and returns it.
/// nullopt, and nothing done, if the smallest would come close to underflow.
std::optional<double> normalise(double& constant, double& log_scale,
                                const std::vector<std::vector<double>*>& weights);

struct ColumnProblem;

/// nullopt when B has a row with another value than +-1, or that leaves or enters two neurons.
/// Needs one array of p 32-bit integers, and two bits per row and worker, beside its result.
template <class Index, class Value, class G>
std::optional<PairProblem> merge_pairs(const IncidenceView<Index, Value>& B, std::span<const G> g,
                                       const WeightSummary& summary, int threads, Monitor& monitor);

/// Any B. Needs one array of p 64-bit integers beside its result.
template <class Index, class Value, class G>
ColumnProblem merge_patterns(const IncidenceView<Index, Value>& B, std::span<const G> g,
                             const WeightSummary& summary, Monitor& monitor);

}  // namespace pathcond
