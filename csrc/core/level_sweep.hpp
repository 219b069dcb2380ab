#pragma once

#include <memory>
#include <vector>

#include "core/block_state.hpp"
#include "core/level_step.hpp"

namespace pathcond {

/// Exact step for a whole level at a time, then the coarse step. Forward and backward sweeps
/// alternate, so that every block is read once per sweep: the half-sum that the other direction
/// left is still valid.
class LevelSweep {
 public:
  struct Outcome {
    double objective;      ///< F/p after the sweep
    double gradient_norm;  ///< largest |dF/du_h| / p met just before the neuron's step
    bool descended;        ///< false: numbers left their range, and u is what it was
  };

  /// `state` must have been evaluated.
  explicit LevelSweep(BlockState& state)
      : state_(state), there_{state.level_sweeper(false), state.level_sweeper(true)} {}

  Outcome sweep();

 private:
  /// Minimises over all neurons of one level; returns the largest stationarity before.
  double step(std::int32_t level);

  BlockState& state_;
  std::unique_ptr<Sweeper> there_[2];  ///< backward, forward, if the weights sweep themselves
  bool forward_ = true;
  double total_ = 0;
  LevelFlows flows_;
  std::vector<double> t_;
};

}  // namespace pathcond
