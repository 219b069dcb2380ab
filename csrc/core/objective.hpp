#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "core/forest.hpp"
#include "core/sparse_factor.hpp"
#include "core/step.hpp"

namespace pathcond {

/// A point and what F/p is there.
struct Point {
  explicit Point(std::size_t neurons) : u(neurons), gradient(neurons), curvature(neurons) {}

  std::vector<double> u;
  double value = 0;               ///< F/p
  double rounding = 0;            ///< of the value
  std::vector<double> gradient;   ///< of F/p
  std::vector<double> curvature;  ///< sum_i pi_i B_ih^2 for every neuron h
};

/// F/p as a smooth convex function, for methods that need nothing else of the problem.
class Objective {
 public:
  virtual ~Objective() = default;

  /// Moves to point.u, fills the rest of `point` from scratch.
  virtual void evaluate(Point& point) = 0;

  /// out = (B^T diag(pi) B - (B^T pi)(B^T pi)^T) z at the last point evaluated.
  virtual void hessian_product(const std::vector<double>& z, std::vector<double>& out) = 0;

  /// Largest |change of an exponent (Bu)_i|, or a bound on it, that a step along z makes.
  virtual double exponent_change(const std::vector<double>& z) = 0;

  /// P^T (H + damping) P, factored, or near it; P repeats one shift per coarse group over those of
  /// its neurons that are free.
  virtual SparseFactor coarse_hessian(double damping, const std::vector<char>& free) = 0;
  /// The strongest couplings of every neuron at the last point evaluated.
  virtual std::vector<Coupling> strong_couplings() = 0;
  /// Coarse group of every neuron.
  virtual const std::vector<std::int32_t>& coarse() const = 0;
  virtual std::int32_t coarse_groups() const = 0;

  /// Passes over the merged weights so far.
  virtual double passes() const = 0;
};

/// Largest absolute entry.
inline double max_norm(const std::vector<double>& vector) {
  double largest = 0;
  for (const double value : vector) {
    if (std::isnan(value)) return value;
    largest = std::max(largest, std::abs(value));
  }
  return largest;
}

}  // namespace pathcond
