#include "core/host_weights.hpp"

#include <algorithm>
#include <atomic>
#include <limits>

#include "core/parallel.hpp"

namespace pathcond {

void HostWeights::sum(std::span<const Wanted> wanted, const std::vector<double>& x,
                      const std::vector<double>& y, std::vector<HalfSums>& sums) {
  const auto sum_block = [&](const Wanted& want, int threads) {
    const Block& block = problem_.blocks[want.block];
    HalfSums& half = sums[want.block];
    if (want.left && want.right)
      block.gather_scatter(&x[source(block)], &y[target(block)], half.right.data(),
                           half.left.data(), threads);
    else if (want.left)
      block.scatter(&y[target(block)], half.left.data(), threads);
    else
      block.gather(&x[source(block)], half.right.data(), threads);
  };
  // Threads share a large block part by part, small ones block by block, the largest first.
  std::vector<Wanted> small;
  std::int64_t entries = 0;
  for (const Wanted& want : wanted) {
    const Block& block = problem_.blocks[want.block];
    if (block.divisible()) {
      sum_block(want, threads_);
    } else {
      small.push_back(want);
      entries += block.stored();
    }
    monitor_.advance(block.stored());
  }
  const int workers = workers_for(entries, threads_);
  if (workers > 1)
    std::stable_sort(small.begin(), small.end(), [&](const Wanted& a, const Wanted& b) {
      return problem_.blocks[a.block].stored() > problem_.blocks[b.block].stored();
    });
  std::atomic<std::size_t> next = 0;
  run_workers(workers, [&](int) {
    for (std::size_t k = next++; k < small.size(); k = next++) sum_block(small[k], 1);
  });
}

const std::vector<std::vector<double>>& HostWeights::originals() {
  if (originals_.empty())
    for (const Block& block : problem_.blocks) originals_.push_back(block.copied());
  return originals_;
}

double HostWeights::largest_exponent(const std::vector<double>& u) {
  double largest = -std::numeric_limits<double>::infinity();
  for (std::size_t id = 0; id < problem_.blocks.size(); ++id) {
    const Block& block = problem_.blocks[id];
    largest = std::max(
        largest, block.largest_exponent(originals()[id], &u[source(block)], &u[target(block)]));
  }
  return largest;
}

void HostWeights::absorb(const std::vector<double>& u, double offset) {
  for (std::size_t id = 0; id < problem_.blocks.size(); ++id) {
    Block& block = problem_.blocks[id];
    block.absorb(originals()[id], &u[source(block)], &u[target(block)], offset);
    monitor_.advance(block.stored());
  }
}

std::vector<Coupling> HostWeights::strong_couplings(const std::vector<double>& x,
                                                    const std::vector<double>& y, double total) {
  StrongCouplings strong(x.size());
  for (const Block& block : problem_.blocks) {
    const auto from = problem_.group_begin[block.source];
    const auto to = problem_.group_begin[block.target];
    block.for_each_weight([&](std::int32_t a, std::int32_t b, double w) {
      strong.offer(from + a, to + b, -x[from + a] * w * y[to + b] / total);
    });
    monitor_.advance(block.stored());
  }
  return strong.list();
}

}  // namespace pathcond
