#pragma once

#include <optional>
#include <vector>

#include "core/blocks.hpp"
#include "core/column_sweep.hpp"
#include "core/monitor.hpp"

namespace pathcond {

/// The sweep of `ColumnSweep`, neurons in the order of B, on blocks. With x = e^u and y = e^-u a
/// neuron's entering sum is a product of its column with x; when its y changes, the leaving sums of
/// its sources change by that column times the difference. So a step reads one column, twice in a
/// row, where rows would be touched one by one. Leaving sums are taken afresh before every sweep,
/// and where one has lost most of its size since.
class NeuronSweep {
 public:
  /// Products of a few numbers within e^(+-this) stay in range.
  static constexpr double kFarthest = 100;

  NeuronSweep(const BlockProblem& problem, const Box& box, std::vector<double> u, int threads,
              Monitor& monitor);

  /// Whether u is near enough to 0 for sweeps at all.
  bool in_range() const { return in_range_; }
  /// nullopt, with u as it was, if a weight would come near the end of a double's range, or one
  /// neuron outweighs all others.
  std::optional<ColumnSweep::Outcome> sweep();
  /// F/p at the current point.
  double objective() const;
  /// In the order of the blocks.
  const std::vector<double>& u() const { return u_; }
  /// Reads of the merged weights.
  double passes() const;

 private:
  bool begin();
  /// The neuron's step; false if it cannot be taken.
  bool step(std::int32_t group, std::size_t neuron, ColumnSweep::Outcome& outcome);
  double leaving(std::int32_t group, std::size_t neuron);
  double total() const;
  std::size_t first(std::int32_t group) const {
    return static_cast<std::size_t>(problem_.group_begin[group]);
  }

  const BlockProblem& problem_;
  Box box_;
  int threads_;
  Monitor& monitor_;
  std::vector<std::int32_t> group_of_, visit_;  ///< of every neuron; neurons in the order of B
  std::vector<double> u_, x_, y_;
  std::vector<double> left_, left_before_;  ///< sum_b W_ab y_b; the same when the sweep began
  double total_ = 0, touched_ = 0;
  bool in_range_;
};

}  // namespace pathcond
