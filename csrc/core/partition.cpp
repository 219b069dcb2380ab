#include "core/partition.hpp"

#include <algorithm>
#include <array>
#include <map>
#include <numeric>

#include "core/hash.hpp"

namespace pathcond {
namespace {

constexpr std::int64_t kMaxLinksPerGroup = 16;
/// Links between coarse groups of a problem without levels may be dense.
constexpr std::int32_t kMaxDenseGroups = 256;

/// Arcs a -> b (a row leaves a and enters b) as lists of predecessors of every node.
struct Graph {
  std::vector<std::int64_t> ptr;
  std::vector<std::int32_t> predecessor;

  std::int32_t nodes() const { return static_cast<std::int32_t>(ptr.size()) - 1; }
};

/// Numbers equal keys by first appearance.
template <class Key>
std::vector<std::int32_t> number(const std::vector<Key>& keys) {
  std::map<Key, std::int32_t> known;
  std::vector<std::int32_t> id(keys.size());
  for (std::size_t k = 0; k < keys.size(); ++k)  // neurons of a layer follow each other
    id[k] = k > 0 && keys[k] == keys[k - 1]
                ? id[k - 1]
                : known.try_emplace(keys[k], static_cast<std::int32_t>(known.size())).first->second;
  return id;
}

std::int32_t count(const std::vector<std::int32_t>& id) {
  return id.empty() ? 0 : 1 + *std::max_element(id.begin(), id.end());
}

std::vector<TwinKey> twin_keys(const PairProblem& problem) {
  const auto H = static_cast<std::size_t>(problem.neurons);
  std::vector<TwinKey> key(H, {0, 0});
  std::vector<std::uint64_t> name(H);
  for (std::size_t h = 0; h < H; ++h) name[h] = hash_bits(h);
  for (std::size_t b = 0; b < H; ++b) {
    std::uint64_t predecessors = 0;
    for (auto k = problem.enter_ptr[b]; k < problem.enter_ptr[b + 1]; ++k) {
      const auto a = static_cast<std::size_t>(problem.leave[k]);
      predecessors += name[a];
      key[a][0] += name[b];
    }
    key[b][1] += predecessors + (problem.enter_only[b] > 0 ? 1 : 0);
    key[b][0] += problem.leave_only[b] > 0 ? 1 : 0;
  }
  return key;
}

Graph listed(const std::vector<std::vector<std::int32_t>>& predecessors) {
  Graph graph{{0}, {}};
  for (const auto& list : predecessors) {
    graph.predecessor.insert(graph.predecessor.end(), list.begin(), list.end());
    graph.ptr.push_back(std::ssize(graph.predecessor));
  }
  return graph;
}

Graph quotient(const PairProblem& problem, const std::vector<std::int32_t>& group) {
  std::vector<std::vector<std::int32_t>> predecessors(static_cast<std::size_t>(count(group)));
  for (std::size_t b = 0; b < group.size(); ++b) {
    auto& list = predecessors[group[b]];
    if (!list.empty()) continue;  // twins have the same
    for (auto k = problem.enter_ptr[b]; k < problem.enter_ptr[b + 1]; ++k)
      list.push_back(group[problem.leave[k]]);
    std::sort(list.begin(), list.end());
    list.erase(std::unique(list.begin(), list.end()), list.end());
  }
  return listed(predecessors);
}

/// Length of the longest path that ends in each node; empty if there is a cycle.
std::vector<std::int32_t> depths(const Graph& graph) {
  enum : std::int32_t { kNew = -1, kOpen = -2 };
  std::vector<std::int32_t> depth(static_cast<std::size_t>(graph.nodes()), kNew);
  std::vector<std::pair<std::int32_t, std::int64_t>> stack;
  for (std::int32_t root = 0; root < graph.nodes(); ++root) {
    if (depth[root] != kNew) continue;
    stack.emplace_back(root, graph.ptr[root]);
    depth[root] = kOpen;
    while (!stack.empty()) {
      auto& [node, next] = stack.back();
      if (next < graph.ptr[node + 1]) {
        const auto before = graph.predecessor[next++];
        if (depth[before] == kOpen) return {};
        if (depth[before] == kNew) {
          depth[before] = kOpen;
          stack.emplace_back(before, graph.ptr[before]);
        }
        continue;
      }
      std::int32_t deepest = 0;
      for (auto k = graph.ptr[node]; k < graph.ptr[node + 1]; ++k)
        deepest = std::max(deepest, depth[graph.predecessor[k]] + 1);
      depth[node] = deepest;
      stack.pop_back();
    }
  }
  return depth;
}

/// Greedy colouring, nodes with many neighbours first.
std::vector<std::int32_t> colours(const Graph& graph) {
  const auto n = static_cast<std::size_t>(graph.nodes());
  std::vector<std::vector<std::int32_t>> neighbours(n);
  for (std::int32_t b = 0; b < graph.nodes(); ++b)
    for (auto k = graph.ptr[b]; k < graph.ptr[b + 1]; ++k) {
      neighbours[b].push_back(graph.predecessor[k]);
      neighbours[graph.predecessor[k]].push_back(b);
    }
  std::vector<std::int32_t> order(n);
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](auto a, auto b) { return neighbours[a].size() > neighbours[b].size(); });
  std::vector<std::int32_t> colour(n, -1);
  std::vector<std::int32_t> taken_by(n + 1, -1);
  for (const auto node : order) {
    for (const auto other : neighbours[node])
      if (colour[other] >= 0) taken_by[colour[other]] = node;
    std::int32_t free = 0;
    while (taken_by[free] == node) ++free;
    colour[node] = free;
  }
  return colour;
}

/// Sorts groups by level; coarse groups are the groups, or runs of neighbours where there are many.
Partition arrange(const std::vector<std::int32_t>& group, const std::vector<std::int32_t>& level) {
  const auto G = level.size();
  std::vector<std::int32_t> order(G);
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return level[a] < level[b]; });
  std::vector<std::int32_t> position(G);
  Partition result;
  result.coarse = std::min(static_cast<std::int32_t>(G), kMaxGroups);
  for (std::size_t k = 0; k < G; ++k) {
    position[order[k]] = static_cast<std::int32_t>(k);
    result.level_of_group.push_back(level[order[k]]);
    result.coarse_of_group.push_back(static_cast<std::int32_t>(
        static_cast<std::int64_t>(order[k]) * result.coarse / static_cast<std::int64_t>(G)));
  }
  result.group.resize(group.size());
  std::transform(group.begin(), group.end(), result.group.begin(),
                 [&](auto g) { return position[g]; });
  return result;
}

/// By depth, or by colour where there are cycles; no groups at all where they are too many and too
/// closely linked for the coarse step.
Partition arrange(const std::vector<std::int32_t>& group, const Graph& graph) {
  const auto links = std::ssize(graph.predecessor);
  if (graph.nodes() > kMaxDenseGroups && links > graph.nodes() * kMaxLinksPerGroup) return {};
  const auto depth = depths(graph);
  return arrange(group, depth.empty() ? colours(graph) : depth);
}

/// A hash of the set of rows that every neuron has, each described by its entry and by the names
/// and values of the row's other entries.
std::vector<std::uint64_t> neighbourhoods(const ColumnProblem& problem,
                                          const std::vector<std::uint64_t>& name) {
  const auto H = static_cast<std::size_t>(problem.neurons);
  const auto entry = [&](std::size_t h, std::int64_t c) {
    return hash_bits(name[h] + hash_entry(0, problem.class_value[c], 0));
  };
  std::vector<std::uint64_t> row(problem.weight.size(), 0);
  for (std::size_t h = 0; h < H; ++h)
    for (auto c = problem.class_begin[h]; c < problem.class_begin[h + 1]; ++c)
      for (auto k = problem.class_ptr[c]; k < problem.class_ptr[c + 1]; ++k)
        row[problem.row[k]] += entry(h, c);

  std::vector<std::uint64_t> key(H, 0);
  std::vector<std::uint64_t> rows;
  for (std::size_t h = 0; h < H; ++h) {
    rows.clear();
    for (auto c = problem.class_begin[h]; c < problem.class_begin[h + 1]; ++c) {
      const auto value = hash_entry(1, problem.class_value[c], 0);
      for (auto k = problem.class_ptr[c]; k < problem.class_ptr[c + 1]; ++k)
        rows.push_back(hash_bits(value + row[problem.row[k]] - entry(h, c)));
    }
    std::sort(rows.begin(), rows.end());
    rows.erase(std::unique(rows.begin(), rows.end()), rows.end());
    key[h] = std::accumulate(rows.begin(), rows.end(), std::uint64_t{0});
  }
  return key;
}

}  // namespace

std::vector<std::int32_t> number_groups(const std::vector<std::uint64_t>& keys) {
  return number(keys);
}

std::vector<std::int32_t> number_groups(const std::vector<TwinKey>& keys) { return number(keys); }

Grouping::Grouping(const std::vector<std::int32_t>& group) {
  for (const auto g : group) {
    if (g >= groups()) size.resize(static_cast<std::size_t>(g) + 1, 0);
    place.push_back({g, size[static_cast<std::size_t>(g)]++});
  }
}

std::vector<std::int32_t> Grouping::positions(const Partition& partition) const {
  std::vector<std::int32_t> position(size.size());
  for (std::size_t h = 0; h < place.size(); ++h) position[place[h].group] = partition.group[h];
  return position;
}

Partition arrange_groups(const Grouping& grouping) {
  std::vector<std::vector<std::int32_t>> predecessors(grouping.size.size());
  for (const auto& [source, target] : grouping.arcs) predecessors[target].push_back(source);
  std::vector<std::int32_t> group;
  for (const Place& place : grouping.place) group.push_back(place.group);
  return arrange(group, listed(predecessors));
}

Partition partition(const PairProblem& problem) {
  const auto group = number(twin_keys(problem));
  if (count(group) <= kMaxGroups) {
    auto found = arrange(group, quotient(problem, group));
    if (found.groups() > 0) return found;
  }
  const auto depth = depths({problem.enter_ptr, problem.leave});
  if (depth.empty()) return {};
  std::vector<std::int32_t> level(static_cast<std::size_t>(count(depth)));
  std::iota(level.begin(), level.end(), 0);
  return arrange(depth, level);
}

std::vector<std::int32_t> coarse_groups(const ColumnProblem& problem) {
  const auto H = static_cast<std::size_t>(problem.neurons);
  std::vector<std::uint64_t> own_name(H);
  for (std::size_t h = 0; h < H; ++h) own_name[h] = hash_bits(h);
  auto group = number(neighbourhoods(problem, own_name));
  if (count(group) <= kMaxDenseGroups) return group;

  // Channels of one layer need not have the same neighbours, only neighbours of the same kinds:
  // refine one single kind until the kinds are settled, or as many as the coarse step can take.
  constexpr int kMaxRounds = 16;
  group.assign(H, 0);
  std::vector<std::uint64_t> kind(H, 0);
  for (int round = 0; round < kMaxRounds; ++round) {
    auto finer_kind = neighbourhoods(problem, kind);
    for (std::size_t h = 0; h < H; ++h) finer_kind[h] += hash_bits(kind[h]);
    auto finer = number(finer_kind);
    if (count(finer) > kMaxDenseGroups || count(finer) == count(group)) break;
    group = std::move(finer);
    kind = std::move(finer_kind);
  }
  return group;
}

}  // namespace pathcond
