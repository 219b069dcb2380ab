#include "core/forest.hpp"

#include <algorithm>
#include <numeric>

namespace pathcond {
namespace {

std::int32_t find(std::vector<std::int32_t>& root, std::int32_t node) {
  while (root[node] != node) node = root[node] = root[root[node]];
  return node;
}

/// Kruskal's algorithm.
std::vector<Coupling> spanning_forest(std::size_t neurons, std::vector<Coupling> couplings) {
  std::sort(couplings.begin(), couplings.end(), [](const Coupling& x, const Coupling& y) {
    return std::abs(x.value) > std::abs(y.value);
  });
  std::vector<std::int32_t> root(neurons);
  std::iota(root.begin(), root.end(), 0);
  std::vector<Coupling> forest;
  for (const Coupling& coupling : couplings) {
    const auto a = find(root, coupling.a);
    const auto b = find(root, coupling.b);
    if (a == b) continue;
    root[a] = b;
    forest.push_back(coupling);
  }
  return forest;
}

}  // namespace

Forest::Forest(const std::vector<double>& diagonal, std::vector<Coupling> couplings) {
  const std::size_t H = diagonal.size();
  const auto forest = spanning_forest(H, std::move(couplings));
  std::vector<std::vector<Coupling>> neighbours(H);
  for (const auto& [a, b, value] : forest) {
    neighbours[a].push_back({a, b, value});
    neighbours[b].push_back({b, a, value});
  }

  nodes_.reserve(H);
  std::vector<std::int32_t> position(H, -1);
  for (std::size_t start = 0; start < H; ++start) {
    if (position[start] >= 0 || !(diagonal[start] > 0)) continue;
    position[start] = static_cast<std::int32_t>(nodes_.size());
    nodes_.push_back({static_cast<std::int32_t>(start), -1, 0, diagonal[start]});
    for (auto next = static_cast<std::size_t>(position[start]); next < nodes_.size(); ++next) {
      for (const Coupling& edge : neighbours[nodes_[next].neuron]) {
        if (position[edge.b] >= 0) continue;
        position[edge.b] = static_cast<std::int32_t>(nodes_.size());
        nodes_.push_back({edge.b, static_cast<std::int32_t>(next), edge.value, diagonal[edge.b]});
      }
    }
  }
  // A pivot this small is what rounding leaves of a direction without curvature.
  constexpr double kSmallestPivot = 1e-13;
  for (std::size_t k = nodes_.size(); k-- > 0;) {
    Node& node = nodes_[k];
    node.pivot = std::max(node.pivot, kSmallestPivot * diagonal[node.neuron]);
    if (node.parent >= 0) nodes_[node.parent].pivot -= node.coupling * node.coupling / node.pivot;
  }
}

void Forest::solve(const std::vector<double>& r, std::vector<double>& z) const {
  std::fill(z.begin(), z.end(), 0.0);
  for (const Node& node : nodes_) z[node.neuron] = r[node.neuron];
  for (std::size_t k = nodes_.size(); k-- > 0;) {
    const Node& node = nodes_[k];
    if (node.parent >= 0)
      z[nodes_[node.parent].neuron] -= node.coupling / node.pivot * z[node.neuron];
  }
  for (const Node& node : nodes_) {
    const double above = node.parent >= 0 ? node.coupling * z[nodes_[node.parent].neuron] : 0;
    z[node.neuron] = (z[node.neuron] - above) / node.pivot;
  }
}

}  // namespace pathcond
