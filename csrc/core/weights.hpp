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
class CoarseShape;
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

/// A point. Vectors are over all neurons, in the problem's order, and half-sums those of every
/// block.
struct SweepPoint {
  std::vector<double>&u, &x, &y;    ///< x = e^(u - base), y = 1 / x
  const std::vector<double>& base;  ///< what the weights contain of u
  std::vector<HalfSums>& half;
  double total;  ///< sum of all weights
};

/// What a sweep has come to.
struct Swept {
  std::size_t steps = 0;     ///< taken
  double total = 0;          ///< sum of all weights
  double gradient_norm = 0;  ///< largest |dF/du_h| / p met just before a neuron's step
  double change = 0;         ///< sum of |change of u|, if neurons go one by one
  // Once all steps have been taken:
  double linear = 0, size = 0;  ///< sum of d u / p, and of its terms' sizes
  double farthest = 0;          ///< largest |u - base|
  double largest = 0;           ///< largest |u|
};

/// Sweeps where the weights are, and where the point stays between sweeps.
class Sweeper {
 public:
  virtual ~Sweeper() = default;

  virtual const SweepPlan& plan(std::size_t number) const = 0;
  /// Takes a point there.
  virtual void send(const SweepPoint& point) = 0;
  /// Takes the steps of a plan, and after those of levels the coarse step. A step where it, or one
  /// of its neurons, outweighs everything else so much that the rest of the total is rounding is
  /// the first that is left to the caller.
  virtual Swept sweep(std::size_t number) = 0;
  /// Brings the point, and u as it was before the last sweep.
  virtual void bring(const SweepPoint& point, std::vector<double>& u_before) = 0;
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

  /// Sweeps of a problem that outlives them; null where the caller steps himself: by levels, plan 0
  /// backward and plan 1 forward, and neuron by neuron.
  virtual std::unique_ptr<Sweeper> level_sweeper(const BlockProblem&, const CoarseShape&) {
    return nullptr;
  }
  virtual std::unique_ptr<Sweeper> cd_sweeper(const BlockProblem&, const Box&) { return nullptr; }

  /// Has the blocks hold their weights, where they did not.
  virtual void bring_to(std::vector<Block>&) {}
};

}  // namespace pathcond
