#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "core/coarse.hpp"
#include "core/level_step.hpp"

namespace pathcond {

class BlockState;

/// A block problem in which every block is replaced by the rank-one matrix of the same row sums and
/// column sums: W_ab = left_a right_b. Its gradient at u = 0, which is the point it was taken
/// at, is that of the problem itself, and a sweep over it costs O(H) instead of a pass over the
/// weights. diag(G) of a linear layer is a rank-one matrix, what flows into a neuron times what
/// flows out of it; of a convolution it is close to one.
class RankOneModel {
 public:
  /// Nullopt where a block is sparse, hence far from rank one, or where a pass over the weights is
  /// cheaper than the model. `state` must have been evaluated.
  static std::optional<RankOneModel> of(const BlockState& state);

  /// Change of u at the model's minimum, found to about this max|dF/du| / p; nullopt if it lies too
  /// far away.
  std::optional<std::vector<double>> minimum(double tolerance);

 private:
  struct Block {
    std::int32_t source, target;      ///< groups
    std::vector<double> left, right;  ///< of the neurons of either group
    double x, y;                      ///< sum_a left_a z_a and sum_b right_b / z_b
  };

  explicit RankOneModel(const BlockState& state);

  /// Exact level steps, then the coarse step; returns the largest |dF/du_h| / p met.
  double sweep(bool forward);
  double step(std::int32_t level);
  /// O_h and I_h of a group's neurons, in `flows_` of a level that begins at neuron `first`.
  void flows(std::int32_t group, std::size_t first);
  /// Takes over what z has become in a group.
  void refresh(std::int32_t group);
  /// Weight of the rows that neither leave nor enter one of these groups.
  double rest(std::int32_t first_group, std::int32_t last_group) const;
  void coarse_step();
  std::size_t begin(std::int32_t group) const;

  const BlockState& state_;
  std::vector<Block> blocks_;
  std::vector<double> leave_only_, enter_only_;  ///< of neurons, at u = 0
  std::vector<double> z_, inverse_;              ///< e^u, e^-u
  std::vector<double> leaves_, enters_;          ///< what only leaves or enters a group, at z
  std::vector<double> share_, group_share_;      ///< d / p, and its sums over groups
  double constant_ = 0, total_ = 1;
  LevelFlows flows_;
  std::vector<double> t_;
};

}  // namespace pathcond
