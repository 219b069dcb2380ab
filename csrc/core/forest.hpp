#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <vector>

namespace pathcond {

/// An off-diagonal entry of the Hessian of F/p (without its rank-one part).
struct Coupling {
  std::int32_t a, b;
  double value;
};

/// Collects the strongest couplings of every neuron.
class StrongCouplings {
 public:
  explicit StrongCouplings(std::size_t neurons) : best_(neurons) {}

  static constexpr std::size_t kPerNeuron = 3;

  void offer(std::int32_t a, std::int32_t b, double value) {
    offer_to(a, b, value);
    offer_to(b, a, value);
  }
  /// Only as a coupling of a.
  void offer_to(std::int32_t a, std::int32_t b, double value) {
    const double size = std::abs(value);
    if (size > best_[a][kPerNeuron - 1].size) insert(best_[a], {b, size, value});
  }

  std::vector<Coupling> list() const {
    std::vector<Coupling> couplings;
    for (std::size_t a = 0; a < best_.size(); ++a)
      for (const Entry& entry : best_[a])
        if (entry.size > 0)
          couplings.push_back({static_cast<std::int32_t>(a), entry.other, entry.value});
    return couplings;
  }

 private:
  struct Entry {
    std::int32_t other = 0;
    double size = 0, value = 0;
  };
  using Entries = std::array<Entry, kPerNeuron>;

  static void insert(Entries& entries, Entry entry) {
    for (Entry& place : entries)
      if (entry.size > place.size) std::swap(place, entry);
  }

  std::vector<Entries> best_;
};

/// A diagonal plus the couplings of a maximum-weight spanning forest, solved exactly in O(H).
/// Where weights spread over many decades, the strongest coupling of a neuron dwarfs the others
/// and the forest is nearly the whole Hessian; where they are alike it is no worse than the
/// diagonal. Positive definite if every coupling comes from rows of its own: the two entries of a
/// row contribute a positive semi-definite 2 x 2 block.
class Forest {
 public:
  /// `diagonal`: 0 for neurons without a row, whose solution is 0.
  Forest(const std::vector<double>& diagonal, std::vector<Coupling> couplings);

  /// Solution for the right-hand side r.
  void solve(const std::vector<double>& r, std::vector<double>& z) const;

 private:
  struct Node {
    std::int32_t neuron, parent;  ///< parent -1: a root
    double coupling;              ///< to the parent
    double pivot;
  };
  std::vector<Node> nodes_;  ///< parents before children
};

}  // namespace pathcond
