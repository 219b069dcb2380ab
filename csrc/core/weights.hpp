#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "core/forest.hpp"

namespace pathcond {

struct Block;
struct BlockProblem;
struct Box;
struct SweepPlan;

/// Of a block W from group A to group B: left = W y_B and right = W^T x_A.
struct HalfSums {
  std::vector<double> left, right;
  bool left_valid = false, right_valid = false;
};

/// The half-sums of one block that are asked for.
struct Wanted {
  std::int32_t block;
  bool left, right;
};

/// Where the steps of a sweep start from and lead to. Vectors are over all neurons, in the
/// problem's order, and half-sums those of every block.
struct SweepPoint {
  std::vector<double>&u, &x, &y;  ///< x = e^u, but for a part that the weights contain; y = 1 / x
  std::vector<HalfSums>& half;
  double total;              ///< sum of all weights
  double gradient_norm = 0;  ///< largest |dF/du_h| / p met just before a neuron's step
  double change = 0;         ///< sum of |change of u|, if neurons go one by one
};

/// Sweeps where the weights are.
class Sweeper {
 public:
  virtual ~Sweeper() = default;

  virtual const SweepPlan& plan() const = 0;
  /// Takes the steps of the plan; returns how many. One where a step, or one of its neurons,
  /// outweighs everything else so much that the rest of the total is rounding is the first that is
  /// left to the caller.
  virtual std::size_t sweep(SweepPoint& point) = 0;
};

/// All that is done with the weights of blocks one by one, wherever they are: what a backend has to
/// provide. Vectors are over all neurons, in the problem's order.
class Weights {
 public:
  virtual ~Weights() = default;

  /// The half-sums wanted, each from one read of its block. The sums have their sizes already.
  virtual void sum(std::span<const Wanted> wanted, const std::vector<double>& x,
                   const std::vector<double>& y, std::vector<HalfSums>& sums) = 0;

  /// Largest log V_ab + u_a - u_b over the weights V given at first; minus infinity without a
  /// positive one.
  virtual double largest_exponent(const std::vector<double>& u) = 0;
  /// W_ab <- exp(log V_ab + u_a - u_b - offset): what underflows in one absorption must not be lost
  /// to the next.
  virtual void absorb(const std::vector<double>& u, double offset) = 0;

  /// The strongest of -x_a W_ab y_b / total for every neuron.
  virtual std::vector<Coupling> strong_couplings(const std::vector<double>& x,
                                                 const std::vector<double>& y, double total) = 0;

  /// Sweeps of a problem that outlives them; null where the caller steps himself: by levels,
  /// forward or backward, and neuron by neuron.
  virtual std::unique_ptr<Sweeper> level_sweeper(const BlockProblem&, bool) { return nullptr; }
  virtual std::unique_ptr<Sweeper> cd_sweeper(const BlockProblem&, const Box&) { return nullptr; }

  /// Has the blocks hold their weights, where they did not.
  virtual void bring_to(std::vector<Block>&) {}
};

}  // namespace pathcond
