#pragma once

#include <vector>

namespace pathcond {

/// The exact step of an independent set of neurons: O_h and I_h leave and enter neuron h,
/// share_h = d_h / p. One entry per neuron each.
struct LevelFlows {
  std::vector<double> leaving, entering, share;

  void resize(std::size_t neurons);
  /// Sum of all that leaves and enters.
  double touched() const;
  /// Largest |dF/du_h| / p when the sum of all weights is `total`.
  double stationarity(double total) const;
};

/// The root S of S = rest + sum_h sqrt((share_h S)^2 + 4 O_h I_h): the new sum of all weights when
/// every neuron of the set takes its exact step. `total`: the sum before.
double level_total(const LevelFlows& flows, double total, double rest);

/// t_h = e^(change of u_h) at the minimum when the sum of all weights there is `total`; 1 for
/// neurons without a row left, or whose weights underflow.
void level_steps(const LevelFlows& flows, double total, std::vector<double>& t);

}  // namespace pathcond
