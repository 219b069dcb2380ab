#pragma once

#include <cstdint>
#include <vector>

#include "core/merge.hpp"
#include "core/partition.hpp"

namespace pathcond {

/// A matrix of weights that stays where the caller has it, column by column; nothing when both
/// pointers are null.
struct Borrowed {
  const float* single = nullptr;
  const double* twice = nullptr;
  std::int64_t stride = 0;  ///< from one column to the next

  explicit operator bool() const { return single != nullptr || twice != nullptr; }
};

/// The merged weights of all pairs that leave `source` and enter `target`. Where most pairs exist
/// the block is a dense matrix, else it is sparse; either way it is stored by target neuron, and
/// neurons count from the start of their group. A dense matrix may be the caller's own. Where the
/// weights are elsewhere, see `Weights`, the block holds no values, but `ptr` if it is sparse.
struct Block {
  std::int32_t source = 0, target = 0;        ///< groups
  std::int32_t rows = 0, columns = 0;         ///< neurons of source and target
  std::vector<std::int64_t> ptr;              ///< sparse: columns + 1
  std::vector<std::int32_t> index;            ///< sparse: source neuron of every value
  std::vector<double> value;                  ///< dense: rows x columns, column by column
  Borrowed borrowed;                          ///< in place of `value`
  double scale = 1;                           ///< the weights are this times what is stored
  std::vector<double> row_sums, column_sums;  ///< of what is stored, if the merge knows them

  bool dense() const { return ptr.empty(); }
  std::int64_t stored() const {
    return dense() ? static_cast<std::int64_t>(rows) * columns : ptr.back();
  }
  /// Whether several threads work on one pass over the block.
  bool divisible() const;
  /// The weights, in the order in which `value` holds or would hold them.
  std::vector<double> copied() const;

  /// right_b = sum_a W_ab x_a; no sum depends on the number of threads, here or below.
  void gather(const double* x, double* right, int threads) const;
  /// left_a = sum_b W_ab y_b
  void scatter(const double* y, double* left, int threads) const;
  /// Both, in one pass over the weights.
  void gather_scatter(const double* x, const double* y, double* right, double* left,
                      int threads) const;
  /// scale y, for one y per target neuron
  std::vector<double> times_scale(const double* y) const;
  /// sum_a W_ab x_a for one target neuron b
  double column_sum(std::int32_t b, const double* x) const;
  /// left_a += W_ab factor for one target neuron b
  void add_column(std::int32_t b, double factor, double* left) const;
  /// sum_b W_ab y_b for one source neuron a; does not read along the memory
  double row_sum(std::int32_t a, const double* y) const;

  /// Calls visit(source neuron, target neuron, position of the value) for every value.
  template <class Visit>
  void for_each(const Visit& visit) const {
    for (std::int32_t b = 0; b < columns; ++b) {
      if (dense()) {
        for (std::int32_t a = 0; a < rows; ++a) visit(a, b, static_cast<std::size_t>(b) * rows + a);
      } else {
        for (auto k = ptr[b]; k < ptr[b + 1]; ++k) visit(index[k], b, static_cast<std::size_t>(k));
      }
    }
  }
  /// Calls visit(source neuron, target neuron, weight) for every value.
  template <class Visit>
  void for_each_weight(const Visit& visit) const {
    if (!borrowed) {
      for_each(
          [&](std::int32_t a, std::int32_t b, std::size_t k) { visit(a, b, scale * value[k]); });
      return;
    }
    for (std::int32_t b = 0; b < columns; ++b)
      for (std::int32_t a = 0; a < rows; ++a) {
        const auto k = b * borrowed.stride + a;
        const double w =
            borrowed.single ? static_cast<double>(borrowed.single[k]) : borrowed.twice[k];
        visit(a, b, scale * w);
      }
  }

  /// Largest log V_ab + u_a - u_b over the values V given; minus infinity without a positive one.
  double largest_exponent(const std::vector<double>& values, const double* u_source,
                          const double* u_target) const;
  /// W_ab <- exp(log V_ab + u_a - u_b - offset); the block owns its values from then on.
  void absorb(const std::vector<double>& values, const double* u_source, const double* u_target,
              double offset);
};

/// A pair problem in the order of its partition: neurons by level, then by group. All vectors over
/// neurons are in this order; `order[k]` is the neuron's column in B.
struct BlockProblem {
  double rows = 0;       ///< p
  double constant = 0;   ///< weight of the empty rows
  double log_scale = 0;  ///< weights are g exp(-log_scale)
  std::vector<std::int32_t> order;
  std::vector<std::int32_t> group_begin;  ///< groups + 1
  std::vector<std::int32_t> level_begin;  ///< levels + 1, in groups
  std::vector<std::int32_t> coarse;       ///< of every group
  std::int32_t coarse_groups = 0;
  std::vector<double> degree, leave_only, enter_only;
  std::vector<Block> blocks;
  std::vector<std::vector<std::int32_t>> in_blocks, out_blocks;  ///< of every group
  std::int64_t stored = 0;                                       ///< values in all blocks

  std::size_t neurons() const { return order.size(); }
  std::int32_t groups() const { return static_cast<std::int32_t>(coarse.size()); }
  std::int32_t levels() const { return static_cast<std::int32_t>(level_begin.size()) - 1; }
};

BlockProblem build_blocks(const PairProblem& pairs, const Partition& partition);

/// The neurons of a block problem in order, with what they have in no pair; blocks are yet to come.
BlockProblem without_blocks(const PairProblem& pairs, const Partition& partition);

/// The same problem by pairs, neurons in the order of B.
PairProblem to_pairs(const BlockProblem& problem, const std::vector<std::uint8_t>& frozen);

/// From this fill on a dense matrix is smaller and faster than a sparse one.
inline constexpr double kDenseFill = 0.4;

}  // namespace pathcond
