#pragma once

#include <optional>
#include <vector>

#include "core/block_state.hpp"
#include "core/column_sweep.hpp"
#include "core/neuron_sweep.hpp"
#include "core/objective.hpp"
#include "core/sweep_plan.hpp"

namespace pathcond {

/// The sweep of `NeuronSweep`, by a plan, where the weights are.
class PlannedSweep {
 public:
  PlannedSweep(BlockState& state, Sweeper& sweeper) : state_(state), sweeper_(sweeper) {
    Point point(state.u().size());
    point.u = state.u();
    state.evaluate(point);
  }

  /// As `NeuronSweep::sweep`; half-sums are nobody's any more where that is nullopt.
  std::optional<ColumnSweep::Outcome> sweep() {
    start_ = state_.u();
    const auto swept = state_.sweep(sweeper_, state_.rest(0, 0));
    if (swept.steps < sweeper_.plan().steps.size() ||
        !(max_norm(state_.u()) <= NeuronSweep::kFarthest)) {
      out_of_range_ = true;
      return std::nullopt;
    }
    return ColumnSweep::Outcome{swept.change, swept.gradient_norm};
  }
  /// F/p at the current point, from sums that have just been taken.
  double objective() const { return state_.value(state_.rest(0, 0)).objective; }
  const std::vector<double>& u() const { return out_of_range_ ? start_ : state_.u(); }

 private:
  BlockState& state_;
  Sweeper& sweeper_;
  std::vector<double> start_;
  bool out_of_range_ = false;
};

}  // namespace pathcond
