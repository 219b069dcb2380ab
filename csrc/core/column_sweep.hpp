#pragma once

#include <vector>

#include "core/columns.hpp"
#include "core/monitor.hpp"

namespace pathcond {

/// The paper's coordinate descent (Algorithm 3): neurons in order, each set to its exact minimiser.
/// The weights w_i = g_i exp((Bu)_i) are the state, so that a step multiplies instead of taking an
/// exponential per row; they are rebuilt from u every kSweepsPerRebuild sweeps, their sum at the
/// start of every sweep, which bounds the drift to a few dozen roundings.
class ColumnSweep {
 public:
  struct Outcome {
    double change;         ///< sum over neurons of |change of u|
    double gradient_norm;  ///< largest |dF/du_h| / p met just before the neuron's step
  };

  ColumnSweep(const ColumnProblem& problem, std::vector<double> u, Monitor& monitor);

  Outcome sweep();
  /// F/p at the current point.
  double objective() const;
  const std::vector<double>& u() const { return u_; }

 private:
  static constexpr int kSweepsPerRebuild = 16;
  /// Exponents up to this size cannot take a weight or a sum of weights out of a double's range.
  static constexpr double kSafeExponent = 200;

  void rebuild();
  double step(std::size_t neuron, Outcome& outcome);

  const ColumnProblem& problem_;
  Monitor& monitor_;
  std::vector<double> u_;
  std::vector<double> w_;
  std::vector<double> class_sum_;  ///< of the current column
  double constant_ = 0;
  double total_ = 0;
  double log_shift_ = 0;  ///< w = g exp(Bu - log_shift)
  int age_ = 0;           ///< sweeps since the last rebuild
};

}  // namespace pathcond
