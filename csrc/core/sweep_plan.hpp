#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "core/blocks.hpp"
#include "core/weights.hpp"

namespace pathcond {

/// A sweep whose steps are known before it begins, so that it can run where the weights are: every
/// step takes half-sums afresh, then moves neurons that share no row.
struct SweepPlan {
  struct Step {
    std::vector<Wanted> wanted;
    std::int32_t first, last;  ///< moves neurons[first, last)
  };

  /// Whether the neurons of a step take their minima one after the other, as in coordinate descent,
  /// or all at once.
  bool one_by_one = false;
  std::vector<std::int32_t> neurons;  ///< in the problem's order
  std::vector<Step> steps;
  std::vector<Wanted> given;  ///< half-sums that are read before any step takes them
};

/// Levels in order, or in the reverse order.
SweepPlan plan_levels(const BlockProblem& problem, bool forward);

/// The paper's sweep: neurons in the order of B, in one step until a neighbour follows. nullopt
/// where so many steps come of it that they would read the weights again and again.
std::optional<SweepPlan> plan_cd(const BlockProblem& problem);

/// What is valid of the half-sums after the first so many steps.
void mark_steps(const BlockProblem& problem, const SweepPlan& plan, std::size_t steps,
                std::vector<HalfSums>& half);

}  // namespace pathcond
