#include <algorithm>
#include <utility>

#include "core/blocks.hpp"

namespace pathcond {
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

/// Where a neuron of B stands in the block problem.
struct Place {
  std::int32_t group;
  std::int32_t neuron;  ///< within the group
};

std::vector<Place> places(const Partition& partition, const BlockProblem& problem) {
  std::vector<Place> place(problem.neurons());
  for (std::size_t k = 0; k < place.size(); ++k) {
    const auto h = problem.order[k];
    const auto g = partition.group[h];
    place[h] = {g, static_cast<std::int32_t>(k) - problem.group_begin[g]};
  }
  return place;
}

/// Adds the blocks into one group, empty but with room for `pairs[source]` pairs each.
void add_blocks(std::int32_t target, std::vector<std::int64_t>& pairs,
                std::vector<std::int32_t>& sources, BlockProblem& problem) {
  const auto size = [&](std::int32_t g) {
    return problem.group_begin[g + 1] - problem.group_begin[g];
  };
  std::sort(sources.begin(), sources.end());
  for (const auto source : sources) {
    Block block;
    block.source = source;
    block.target = target;
    block.rows = size(source);
    block.columns = size(target);
    const auto cells =
        static_cast<std::size_t>(block.rows) * static_cast<std::size_t>(block.columns);
    const auto count = static_cast<std::size_t>(std::exchange(pairs[source], 0));
    if (static_cast<double>(count) >= kDenseFill * static_cast<double>(cells)) {
      block.value.assign(cells, 0.0);
      problem.stored += static_cast<std::int64_t>(cells);
    } else {
      block.ptr.reserve(static_cast<std::size_t>(block.columns) + 1);
      block.ptr.push_back(0);
      block.index.reserve(count);
      block.value.reserve(count);
      problem.stored += static_cast<std::int64_t>(count);
    }
    const auto id = static_cast<std::int32_t>(problem.blocks.size());
    problem.in_blocks[target].push_back(id);
    problem.out_blocks[source].push_back(id);
    problem.blocks.push_back(std::move(block));
  }
  sources.clear();
}

void allocate_blocks(const PairProblem& pairs, const std::vector<Place>& place,
                     BlockProblem& problem) {
  std::vector<std::int64_t> count(static_cast<std::size_t>(problem.groups()), 0);
  std::vector<std::int32_t> sources;
  for (std::int32_t target = 0; target < problem.groups(); ++target) {
    for (auto k = problem.group_begin[target]; k < problem.group_begin[target + 1]; ++k) {
      const auto b = problem.order[k];
      for (auto e = pairs.enter_ptr[b]; e < pairs.enter_ptr[b + 1]; ++e) {
        const auto source = place[pairs.leave[e]].group;
        if (count[source]++ == 0) sources.push_back(source);
      }
    }
    add_blocks(target, count, sources, problem);
  }
}

void fill_blocks(const PairProblem& pairs, const std::vector<Place>& place, BlockProblem& problem) {
  // By source group: the target neuron's column where the block is dense, else the block.
  std::vector<double*> column(static_cast<std::size_t>(problem.groups()), nullptr);
  std::vector<Block*> sparse(static_cast<std::size_t>(problem.groups()), nullptr);
  for (std::int32_t target = 0; target < problem.groups(); ++target) {
    const auto& in_blocks = problem.in_blocks[target];
    for (auto k = problem.group_begin[target]; k < problem.group_begin[target + 1]; ++k) {
      const auto b = problem.order[k];
      for (const auto id : in_blocks) {
        Block& block = problem.blocks[id];
        column[block.source] =
            block.dense()
                ? block.value.data() + static_cast<std::size_t>(place[b].neuron) * block.rows
                : nullptr;
        sparse[block.source] = &block;
      }
      for (auto e = pairs.enter_ptr[b]; e < pairs.enter_ptr[b + 1]; ++e) {
        const auto [source, a] = place[pairs.leave[e]];
        if (double* values = column[source]) {
          values[a] = pairs.weight[e];
        } else {
          sparse[source]->index.push_back(a);
          sparse[source]->value.push_back(pairs.weight[e]);
        }
      }
      for (const auto id : in_blocks) {
        Block& block = problem.blocks[id];
        if (!block.dense()) block.ptr.push_back(std::ssize(block.value));
      }
    }
  }
}

}  // namespace

BlockProblem without_blocks(const PairProblem& pairs, const Partition& partition) {
  BlockProblem problem;
  problem.rows = static_cast<double>(pairs.rows);
  problem.constant = pairs.constant;
  problem.log_scale = pairs.log_scale;
  problem.coarse = partition.coarse_of_group;
  problem.coarse_groups = partition.coarse;
  problem.in_blocks.resize(problem.coarse.size());
  problem.out_blocks.resize(problem.coarse.size());
  order_neurons(pairs, partition, problem);
  return problem;
}

BlockProblem build_blocks(const PairProblem& pairs, const Partition& partition) {
  BlockProblem problem = without_blocks(pairs, partition);
  const auto place = places(partition, problem);
  allocate_blocks(pairs, place, problem);
  fill_blocks(pairs, place, problem);
  return problem;
}

PairProblem to_pairs(const BlockProblem& problem, const std::vector<std::uint8_t>& frozen) {
  const auto H = problem.neurons();
  PairProblem pairs;
  pairs.neurons = static_cast<std::int32_t>(H);
  pairs.rows = static_cast<std::int64_t>(problem.rows);
  pairs.constant = problem.constant;
  pairs.log_scale = problem.log_scale;
  pairs.frozen = frozen;
  const auto restore = [&](const std::vector<double>& from) {
    std::vector<double> to(H);
    for (std::size_t k = 0; k < H; ++k) to[problem.order[k]] = from[k];
    return to;
  };
  pairs.degree = restore(problem.degree);
  pairs.leave_only = restore(problem.leave_only);
  pairs.enter_only = restore(problem.enter_only);
  pairs.enter_ptr.assign(H + 1, 0);
  const auto for_each_pair = [&](const auto& visit) {
    for (const Block& block : problem.blocks)
      block.for_each_weight([&](std::int32_t a, std::int32_t b, double w) {
        if (w > 0)
          visit(problem.order[problem.group_begin[block.source] + a],
                problem.order[problem.group_begin[block.target] + b], w);
      });
  };
  for_each_pair([&](std::int32_t, std::int32_t b, double) { ++pairs.enter_ptr[b + 1]; });
  for (std::size_t h = 0; h < H; ++h) pairs.enter_ptr[h + 1] += pairs.enter_ptr[h];
  pairs.leave.resize(static_cast<std::size_t>(pairs.enter_ptr[H]));
  pairs.weight.resize(pairs.leave.size());
  auto next = pairs.enter_ptr;
  for_each_pair([&](std::int32_t a, std::int32_t b, double w) {
    const auto at = static_cast<std::size_t>(next[b]++);
    pairs.leave[at] = a;
    pairs.weight[at] = w;
  });
  return pairs;
}

}  // namespace pathcond
