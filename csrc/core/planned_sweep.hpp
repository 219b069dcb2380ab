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
    objective_ = point.value;
    before_ = point.u;
  }

  /// As `NeuronSweep::sweep`; half-sums are nobody's any more where that is nullopt.
  std::optional<ColumnSweep::Outcome> sweep() {
    const Swept swept = state_.sweep(sweeper_, 0);
    if (swept.steps < sweeper_.plan(0).steps.size() || !(swept.largest <= NeuronSweep::kFarthest)) {
      out_of_range_ = true;
      return std::nullopt;
    }
    objective_ = state_.value(swept).objective;
    return ColumnSweep::Outcome{swept.change, swept.gradient_norm};
  }
  /// F/p at the current point.
  double objective() const { return objective_; }
  const std::vector<double>& u() {
    state_.bring(before_);
    return out_of_range_ ? before_ : state_.u();
  }

 private:
  BlockState& state_;
  Sweeper& sweeper_;
  double objective_;
  std::vector<double> before_;
  bool out_of_range_ = false;
};

}  // namespace pathcond
