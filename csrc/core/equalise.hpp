#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/monitor.hpp"

namespace pathcond {

/// Columns of B over rows of weights: neuron h has the entries [begin[h], begin[h+1]) of `row` and
/// `value`.
struct WeightColumns {
  std::span<const std::int32_t> begin;
  std::span<const std::int32_t> row;
  std::span<const std::int8_t> value;
};

/// Imbalance: the largest |log(largest weight that enters / largest that leaves)| of a neuron.
struct Equalised {
  std::vector<double> u;        ///< H, u_h = 2 log lambda_h
  std::vector<double> history;  ///< imbalance at the start and after every sweep
  double left = 0;              ///< the last, of neurons that `max_scale` lets make it smaller
};

/// Cross-layer equalisation (Nagel et al., arXiv 1906.04721) on any B. `log_size[i]` is the log of
/// |weight| in row i, the largest of equal rows. From u = `start` on, one neuron after the other
/// takes the scale with which the largest weight that enters it equals the largest that leaves it,
/// where the larger of the two is smallest, or the nearest to it within [1 / max_scale, max_scale],
/// until no imbalance that is left is above the tolerance. A neuron without weights on one of its
/// sides stays. Throws InvalidInput if B has no such rows.
Equalised equalise(const WeightColumns& B, std::vector<double> log_size,
                   const std::vector<double>& start, double max_scale, double tolerance,
                   std::int64_t max_sweeps, Monitor& monitor);

}  // namespace pathcond
