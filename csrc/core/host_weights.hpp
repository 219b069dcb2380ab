#pragma once

#include <vector>

#include "core/blocks.hpp"
#include "core/monitor.hpp"
#include "core/weights.hpp"

namespace pathcond {

/// Weights that the blocks of a problem hold or borrow themselves.
class HostWeights final : public Weights {
 public:
  /// `problem` outlives this; its blocks change when they absorb.
  HostWeights(BlockProblem& problem, int threads, Monitor& monitor)
      : problem_(problem), threads_(threads), monitor_(monitor) {}

  void sum(std::span<const Wanted> wanted, const std::vector<double>& x,
           const std::vector<double>& y, std::vector<HalfSums>& sums) override;
  double largest_exponent(const std::vector<double>& u) override;
  void absorb(const std::vector<double>& u, double offset) override;
  std::vector<Coupling> strong_couplings(const std::vector<double>& x, const std::vector<double>& y,
                                         double total) override;

 private:
  /// The values of all blocks before the first absorption.
  const std::vector<std::vector<double>>& originals();
  std::size_t source(const Block& block) const { return begin(block.source); }
  std::size_t target(const Block& block) const { return begin(block.target); }
  std::size_t begin(std::int32_t group) const {
    return static_cast<std::size_t>(problem_.group_begin[group]);
  }

  BlockProblem& problem_;
  int threads_;
  Monitor& monitor_;
  std::vector<std::vector<double>> originals_;
};

}  // namespace pathcond
