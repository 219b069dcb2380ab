#pragma once

#include <vector>

#include "core/box.hpp"
#include "core/columns.hpp"
#include "core/monitor.hpp"
#include "core/row_weights.hpp"

namespace pathcond {

/// The paper's coordinate descent (Algorithm 3): neurons in order, each set to its exact minimiser
/// within the box.
/// The weights w_i = g_i exp((Bu)_i) are the state, so that a step multiplies instead of taking an
/// exponential per row; they are rebuilt from u every kSweepsPerRebuild sweeps, and after sweeps
/// that went far; their sum is taken afresh after every sweep. This bounds the drift to
/// a few dozen roundings.
class ColumnSweep {
 public:
  struct Outcome {
    double change;         ///< sum over neurons of |change of u|
    double gradient_norm;  ///< largest |dF/du_h| / p met just before the neuron's step
  };

  ColumnSweep(const ColumnProblem& problem, const Box& box, std::vector<double> u,
              Monitor& monitor);

  Outcome sweep();
  /// F/p at the current point.
  double objective() const;
  const std::vector<double>& u() const { return u_; }

 private:
  static constexpr int kSweepsPerRebuild = 16;
  /// Steps that change exponents by this much in all may take weights out of a double's range.
  static constexpr double kFar = 100;

  template <class Weights>
  double step(std::size_t neuron, Weights& weights, Outcome& outcome);

  const ColumnProblem& problem_;
  Box box_;
  Monitor& monitor_;
  std::vector<double> u_;
  RowWeights weights_;
  std::vector<double> log_sum_;  ///< by class of the current column
  int age_ = 0;                  ///< sweeps since the last rebuild
};

}  // namespace pathcond
