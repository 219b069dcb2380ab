#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/forest.hpp"

namespace pathcond {

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

/// All that is done with the weights of blocks one by one, wherever they are: what a backend has to
/// provide. Vectors are over all neurons, in the problem's order.
class Weights {
 public:
  virtual ~Weights() = default;

  /// Whether sweeps, which read a few blocks at a time, pay in a problem of so many levels.
  virtual bool sweeps_pay(std::int32_t levels) const = 0;

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
};

}  // namespace pathcond
