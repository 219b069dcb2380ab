#include "core/blocks.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "core/simd.hpp"

namespace pathcond {
namespace {

/// A dense value costs 8 bytes, a sparse one 12 and an indirection.
constexpr double kDenseFill = 0.4;

PATHCOND_SIMD double dot(const double* a, const double* b, std::int64_t n) {
  // Independent partial sums, so that the compiler may use vectors without reordering any sum.
  constexpr std::int64_t kLanes = 16;
  double lane[kLanes] = {};
  std::int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes)
    for (std::int64_t j = 0; j < kLanes; ++j) lane[j] += a[i + j] * b[i + j];
  double sum = 0;
  for (; i < n; ++i) sum += a[i] * b[i];
  for (const double part : lane) sum += part;
  return sum;
}

PATHCOND_SIMD void add_scaled(double* __restrict__ to, const double* __restrict__ from,
                              double factor, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) to[i] += factor * from[i];
}

PATHCOND_SIMD double dot_and_add(const double* __restrict__ w, const double* __restrict__ x,
                                 double* __restrict__ to, double factor, std::int64_t n) {
  constexpr std::int64_t kLanes = 16;
  double lane[kLanes] = {};
  std::int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes)
    for (std::int64_t j = 0; j < kLanes; ++j) {
      lane[j] += w[i + j] * x[i + j];
      to[i + j] += factor * w[i + j];
    }
  double sum = 0;
  for (; i < n; ++i) {
    sum += w[i] * x[i];
    to[i] += factor * w[i];
  }
  for (const double part : lane) sum += part;
  return sum;
}

}  // namespace

void Block::gather(const double* x, double* right) const {
  if (dense()) {
    for (std::int32_t b = 0; b < columns; ++b)
      right[b] = dot(&value[static_cast<std::size_t>(b) * rows], x, rows);
    return;
  }
  for (std::int32_t b = 0; b < columns; ++b) {
    double sum = 0;
    for (auto k = ptr[b]; k < ptr[b + 1]; ++k) sum += value[k] * x[index[k]];
    right[b] = sum;
  }
}

void Block::scatter(const double* y, double* left) const {
  std::fill_n(left, rows, 0.0);
  if (dense()) {
    for (std::int32_t b = 0; b < columns; ++b)
      add_scaled(left, &value[static_cast<std::size_t>(b) * rows], y[b], rows);
    return;
  }
  for (std::int32_t b = 0; b < columns; ++b)
    for (auto k = ptr[b]; k < ptr[b + 1]; ++k) left[index[k]] += value[k] * y[b];
}

void Block::gather_scatter(const double* x, const double* y, double* right, double* left) const {
  std::fill_n(left, rows, 0.0);
  if (dense()) {
    for (std::int32_t b = 0; b < columns; ++b)
      right[b] = dot_and_add(&value[static_cast<std::size_t>(b) * rows], x, left, y[b], rows);
    return;
  }
  for (std::int32_t b = 0; b < columns; ++b) {
    double sum = 0;
    for (auto k = ptr[b]; k < ptr[b + 1]; ++k) {
      sum += value[k] * x[index[k]];
      left[index[k]] += value[k] * y[b];
    }
    right[b] = sum;
  }
}

double Block::largest_exponent(const std::vector<double>& values, const double* u_source,
                               const double* u_target) const {
  double largest = -std::numeric_limits<double>::infinity();
  for_each([&](std::int32_t a, std::int32_t b, std::size_t k) {
    if (values[k] > 0) largest = std::max(largest, std::log(values[k]) + u_source[a] - u_target[b]);
  });
  return largest;
}

void Block::absorb(const std::vector<double>& values, const double* u_source,
                   const double* u_target, double offset) {
  for_each([&](std::int32_t a, std::int32_t b, std::size_t k) {
    if (values[k] > 0)
      value[k] = std::exp(std::log(values[k]) + u_source[a] - u_target[b] - offset);
  });
}

namespace {

void order_neurons(const PairProblem& pairs, const Partition& partition, BlockProblem& problem) {
  const auto G = static_cast<std::size_t>(partition.groups());
  problem.group_begin.assign(G + 1, 0);
  for (const auto g : partition.group) ++problem.group_begin[g + 1];
  for (std::size_t g = 0; g < G; ++g) problem.group_begin[g + 1] += problem.group_begin[g];
  problem.order.resize(partition.group.size());
  auto next = problem.group_begin;
  for (std::size_t h = 0; h < partition.group.size(); ++h)
    problem.order[next[partition.group[h]]++] = static_cast<std::int32_t>(h);

  problem.level_begin.push_back(0);
  for (std::int32_t g = 0; g < partition.groups(); ++g)
    if (g + 1 == partition.groups() ||
        partition.level_of_group[g + 1] != partition.level_of_group[g])
      problem.level_begin.push_back(g + 1);

  const auto reorder = [&](const std::vector<double>& from) {
    std::vector<double> to(from.size());
    std::transform(problem.order.begin(), problem.order.end(), to.begin(),
                   [&](auto h) { return from[h]; });
    return to;
  };
  problem.degree = reorder(pairs.degree);
  problem.leave_only = reorder(pairs.leave_only);
  problem.enter_only = reorder(pairs.enter_only);
}

/// Visits every pair as (block, source neuron, target neuron, weight), by target neuron.
class PairWalk {
 public:
  PairWalk(const PairProblem& pairs, const Partition& partition, BlockProblem& problem)
      : pairs_(pairs),
        partition_(partition),
        problem_(problem),
        local_(partition.group.size()),
        block_of_source_(problem.groups(), -1) {
    for (std::size_t k = 0; k < problem.order.size(); ++k)
      local_[problem.order[k]] =
          static_cast<std::int32_t>(k) - problem.group_begin[partition.group[problem.order[k]]];
  }

  template <class Visit>
  void operator()(const Visit& visit) {
    for (std::int32_t target = 0; target < problem_.groups(); ++target) {
      std::fill(block_of_source_.begin(), block_of_source_.end(), -1);
      for (const auto block : problem_.in_blocks[target])
        block_of_source_[problem_.blocks[block].source] = block;
      for (auto k = problem_.group_begin[target]; k < problem_.group_begin[target + 1]; ++k) {
        const auto b = problem_.order[k];
        for (auto e = pairs_.enter_ptr[b]; e < pairs_.enter_ptr[b + 1]; ++e) {
          const auto a = pairs_.leave[e];
          const auto block = block_for(partition_.group[a], target);
          visit(problem_.blocks[block], local_[a], local_[b], pairs_.weight[e]);
        }
      }
    }
  }

 private:
  std::int32_t block_for(std::int32_t source, std::int32_t target) {
    auto& block = block_of_source_[source];
    if (block >= 0) return block;
    block = static_cast<std::int32_t>(problem_.blocks.size());
    const auto size = [&](auto g) { return problem_.group_begin[g + 1] - problem_.group_begin[g]; };
    problem_.blocks.push_back({source, target, size(source), size(target), {}, {}, {}});
    problem_.out_blocks[source].push_back(block);
    problem_.in_blocks[target].push_back(block);
    return block;
  }

  const PairProblem& pairs_;
  const Partition& partition_;
  BlockProblem& problem_;
  std::vector<std::int32_t> local_;
  std::vector<std::int32_t> block_of_source_;
};

}  // namespace

BlockProblem build_blocks(const PairProblem& pairs, const Partition& partition) {
  BlockProblem problem;
  problem.rows = static_cast<double>(pairs.rows);
  problem.constant = pairs.constant;
  problem.log_scale = pairs.log_scale;
  problem.coarse = partition.coarse_of_group;
  problem.coarse_groups = partition.coarse;
  problem.in_blocks.resize(problem.coarse.size());
  problem.out_blocks.resize(problem.coarse.size());
  order_neurons(pairs, partition, problem);

  PairWalk walk(pairs, partition, problem);
  walk([&](Block& block, std::int32_t, std::int32_t b, double) {
    if (block.ptr.empty()) block.ptr.assign(static_cast<std::size_t>(block.columns) + 1, 0);
    ++block.ptr[b + 1];
  });
  for (Block& block : problem.blocks) {
    std::partial_sum(block.ptr.begin(), block.ptr.end(), block.ptr.begin());
    const std::int64_t cells = static_cast<std::int64_t>(block.rows) * block.columns;
    std::int64_t size = block.ptr.back();
    if (static_cast<double>(size) >= kDenseFill * static_cast<double>(cells)) {
      block.ptr.clear();
      size = cells;
    } else {
      block.index.reserve(static_cast<std::size_t>(size));
      block.value.reserve(static_cast<std::size_t>(size));
    }
    if (block.dense()) block.value.assign(static_cast<std::size_t>(size), 0.0);
    problem.stored += size;
  }
  walk([](Block& block, std::int32_t a, std::int32_t b, double weight) {
    if (block.dense()) {
      block.value[static_cast<std::size_t>(b) * block.rows + a] = weight;
    } else {
      // Targets come in order, so appending fills the columns one after the other.
      block.index.push_back(a);
      block.value.push_back(weight);
    }
  });
  return problem;
}

}  // namespace pathcond
