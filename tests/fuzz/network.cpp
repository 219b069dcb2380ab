#include <algorithm>
#include <map>
#include <utility>

#include "fuzz/problem.hpp"

namespace pathcond::fuzz {
namespace {

using Ids = std::vector<std::int32_t>;

constexpr std::int64_t kMostRows = 4096;

/// Adds a weight between all channels of two nodes or between groups of them, and a bias.
void join(Bytes& bytes, const Ids& from, const Ids& to, std::vector<Tensor>& tensors) {
  const int shape = bytes.byte();
  Tensor weight;
  weight.enters = std::ssize(to);
  weight.leaves = std::ssize(from);
  if (shape % 4 == 1) weight.taps = 1 + shape / 64;
  if (shape % 16 == 2) weight.repeats = 1 + shape / 64;
  const std::int64_t groups = std::ssize(from);
  if (shape % 8 == 3 && groups > 0 && std::ssize(to) % groups == 0) {
    weight.batch = groups;
    weight.enters /= groups;
    weight.leaves = 1;
  }
  weight.entered = to;
  weight.left = from;
  tensors.push_back(weight);
  if (shape & 32) {
    Tensor bias;
    bias.enters = std::ssize(to);
    bias.entered = to;
    bias.left = {-1};
    tensors.push_back(bias);
  }
}

}  // namespace

Network decode_network(Bytes& bytes) {
  enum Kind { chain, skips, streams, anything };
  const int kind = bytes.below(4);
  const int nodes = bytes.between(2, bytes.rarely(8) ? 40 : 7);
  const int widest = bytes.rarely(8) ? 24 : 6;
  Network network;
  std::vector<Ids> ids;
  for (int node = 0; node < nodes; ++node) {
    Ids& channels = ids.emplace_back(static_cast<std::size_t>(bytes.between(1, widest)), -1);
    if (node == 0 || node + 1 == nodes) continue;
    for (auto& id : channels) id = network.neurons++;
  }
  std::vector<std::pair<int, int>> edges;
  for (int node = 0; node + 1 < nodes; ++node) edges.emplace_back(node, node + 1);
  for (int more = kind == chain ? 0 : bytes.below(12); more > 0; --more) {
    auto [a, b] = std::pair(bytes.below(nodes), bytes.below(nodes));
    if (kind == skips) {
      if (a > b) std::swap(a, b);
      if (a == b) continue;
    }
    edges.emplace_back(a, b);
  }
  if (kind == anything)
    for (auto& channels : ids)
      for (auto& id : channels)
        if (network.neurons > 0) id = bytes.between(-1, std::min(network.neurons - 1, 200));
  std::int64_t rows = 0;
  for (const auto& [a, b] : edges) {
    rows += 4 * std::ssize(ids[a]) * std::ssize(ids[b]);
    if (rows > kMostRows) break;
    join(bytes, ids[static_cast<std::size_t>(a)], ids[static_cast<std::size_t>(b)],
         network.tensors);
  }
  return network;
}

std::vector<int> Network::tensor_of_row() const {
  std::vector<int> numbers;
  for (std::size_t t = 0; t < tensors.size(); ++t)
    numbers.insert(numbers.end(), static_cast<std::size_t>(tensors[t].size()), static_cast<int>(t));
  return numbers;
}

Problem matrix_of(const Network& network) {
  std::map<std::pair<std::int64_t, std::int64_t>, double> entries;  // (column, row)
  Problem problem;
  for (const Tensor& t : network.tensors)
    for (std::int64_t k = 0; k < t.batch; ++k)
      for (std::int64_t e = 0; e < t.enters; ++e)
        for (std::int64_t l = 0; l < t.leaves; ++l)
          for (std::int64_t tap = 0; tap < t.repeats * t.taps; ++tap, ++problem.rows) {
            const auto enter = t.entered[static_cast<std::size_t>(k * t.enters + e)];
            const auto leave = t.left[static_cast<std::size_t>(k * t.leaves + l)];
            if (enter == leave) continue;
            if (enter >= 0) entries[{enter, problem.rows}] = -1;
            if (leave >= 0) entries[{leave, problem.rows}] = 1;
          }
  problem.indptr.assign(static_cast<std::size_t>(network.neurons) + 1, 0);
  for (const auto& [at, value] : entries) {
    ++problem.indptr[static_cast<std::size_t>(at.first) + 1];
    problem.indices.push_back(at.second);
    problem.values.push_back(value);
  }
  for (std::size_t h = 1; h < problem.indptr.size(); ++h)
    problem.indptr[h] += problem.indptr[h - 1];
  problem.entries = std::ssize(problem.indices);
  return problem;
}

}  // namespace pathcond::fuzz
