#pragma once

#include <cstdint>
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
    double largest;        ///< largest |u|
    bool descended;        ///< false: numbers left their range, and u is what it was
  };

  /// `state` must have been evaluated, whenever somebody else has used it.
  explicit LevelSweep(BlockState& state) : state_(state), there_(state.level_sweeper()) {}

  Outcome sweep();
  const std::vector<double>& u();
  /// u before the last sweep
  const std::vector<double>& u_before();

 private:
  /// Takes the steps that are left of a sweep, and the coarse step.
  Outcome finish(const Swept& begun, bool forward);
  /// Minimises over all neurons of one level; returns the largest stationarity before.
  double step(std::int32_t level);

  BlockState& state_;
  std::unique_ptr<Sweeper> there_;  ///< if the weights sweep themselves
  std::vector<double> u_before_;
  BlockState::Value before_{};  ///< the sweep
  bool forward_ = true;
  double total_ = 0;
  LevelFlows flows_;
  std::vector<double> t_;
};

}  // namespace pathcond
