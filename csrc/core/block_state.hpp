#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "core/blocks.hpp"
#include "core/coarse.hpp"
#include "core/monitor.hpp"
#include "core/objective.hpp"
#include "core/weights.hpp"

namespace pathcond {

/// A point u of a block problem, with x = e^u, y = e^-u, and for every block A -> B the half-sums
/// left = W y_B and right = W^T x_A that are known at this point. No weight w_i is ever stored.
/// Vectors over neurons are in the problem's order.
class BlockState final : public Objective {
 public:
  /// The blocks hold their weights.
  BlockState(BlockProblem problem, const std::vector<double>& u, int threads, Monitor& monitor);
  /// The weights of the blocks are elsewhere.
  BlockState(BlockProblem problem, std::unique_ptr<Weights> weights, const std::vector<double>& u);
  BlockState(const BlockState&) = delete;
  BlockState& operator=(const BlockState&) = delete;

  const BlockProblem& problem() const { return problem_; }
  const std::vector<double>& u() const { return u_; }
  /// Of the last point evaluated: e^(u - base), its inverse, the half-sums of a block, the sum of
  /// all weights.
  const std::vector<double>& x() const { return x_; }
  const std::vector<double>& y() const { return y_; }
  const std::vector<double>& left(std::size_t block) const { return half_[block].left; }
  const std::vector<double>& right(std::size_t block) const { return half_[block].right; }
  double total() const { return total_; }
  const CoarseShape& coarse_shape() const { return coarse_shape_; }

  /// See `Weights`.
  std::unique_ptr<Sweeper> level_sweeper() {
    return weights_->level_sweeper(problem_, coarse_shape_);
  }
  std::unique_ptr<Sweeper> cd_sweeper(const Box& box) {
    return weights_->cd_sweeper(problem_, box);
  }
  void bring_weights() { weights_->bring_to(problem_.blocks); }

  /// Whether these half-sums, each of one side, are known.
  bool has(const std::vector<Wanted>& sums) const;
  /// Sweeps where the weights are. Until it is brought, or another evaluated, the point is there,
  /// and nothing else may be asked for.
  Swept sweep(Sweeper& sweeper, std::size_t plan);
  /// Where the point is elsewhere, brings it, and u as it was before the last sweep.
  void bring(std::vector<double>& u_before);
  bool away() const { return away_ != nullptr; }

  /// Multiplies e^u of the neurons of one group by t; half-sums over that group become stale.
  /// Products of e^u round anew each time: `evaluate` takes them from u again.
  void step(std::int32_t group, const double* t);
  /// One common shift per coarse group; half-sums stay valid.
  void shift(const std::vector<double>& coarse_shift);

  /// Whether u has gone far from what the stored weights contain; `evaluate` makes them absorb it.
  bool far() const;
  static bool far(const Swept& swept) { return !(swept.farthest <= kSafeExponent); }

  /// Takes afresh what is stale of the half-sums over these groups.
  void refresh(std::int32_t first_group, std::int32_t last_group);
  /// O_h and I_h of a group's neurons; its half-sums must be valid.
  void flows(std::int32_t group, double* leaving, double* entering) const;
  /// Weight of the rows that neither leave nor enter one of these groups.
  double rest(std::int32_t first_group, std::int32_t last_group) const;
  /// F/p when the sum of all weights is `total`, and its rounding.
  struct Value {
    double objective, rounding;
  };
  Value value(double total) const;
  Value value(const Swept& swept) const;
  /// Sums over coarse groups; every block must have a valid half-sum.
  CoarseProblem coarse_problem() const;

  void evaluate(Point& point) override;
  void hessian_product(const std::vector<double>& z, std::vector<double>& out) override;
  double exponent_change(const std::vector<double>& z) override;
  SparseFactor coarse_hessian(double damping, const std::vector<char>& free) override;
  std::vector<Coupling> strong_couplings() override;
  const std::vector<std::int32_t>& coarse() const override { return coarse_of_neuron_; }
  std::int32_t coarse_groups() const override { return problem_.coarse_groups; }
  double passes() const override;

 private:
  /// What is in no block, before the first absorption, see `Weights::absorb`.
  struct Originals {
    double constant;
    std::vector<double> leave_only, enter_only;
  };
  /// A sweep may add a few times this to u - base before an exponential overflows.
  static constexpr double kSafeExponent = 150;

  void move_to(const std::vector<double>& u);
  void absorb();
  /// The half-sums wanted at points x and y = 1 / x, or along a direction.
  void sum(const std::vector<Wanted>& wanted, const std::vector<double>& x,
           const std::vector<double>& y, std::vector<HalfSums>& sums);
  void count(const Block& block);
  /// Sum of w over a block, from the half-sum that is valid.
  double block_weight(std::size_t block) const;
  std::size_t begin(std::int32_t group) const {
    return static_cast<std::size_t>(problem_.group_begin[group]);
  }

  BlockProblem problem_;
  std::unique_ptr<Weights> weights_;
  std::optional<Originals> originals_;
  std::vector<std::int32_t> coarse_of_neuron_;
  CoarseShape coarse_shape_;
  std::vector<double> u_;
  std::vector<double> base_;   ///< part of u that the stored weights contain
  std::vector<double> x_, y_;  ///< exp(u - base) and its inverse
  std::vector<HalfSums> half_;
  std::vector<HalfSums> products_;        ///< of the Hessian
  std::vector<double> mean_, curvature_;  ///< of the last point evaluated; mean = B^T pi
  double total_ = 1;
  double offset_ = 0;  ///< log of the common factor taken out of the weights by absorb
  double touched_ = 0;
  Sweeper* away_ = nullptr;  ///< has the point
};

}  // namespace pathcond
