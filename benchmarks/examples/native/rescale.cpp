// Rescales a multilayer perceptron: diag(G), the matrix B, the solution, and then the same function
// by other weights. Prints lambda of every neuron and how far the outputs moved.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <pathcond/solve.hpp>
#include <span>
#include <vector>

using Vector = std::vector<double>;

struct Layer {
  int inputs, outputs;
  Vector weight;  // outputs x inputs
  Vector bias;    // outputs

  double& at(int output, int input) { return weight[output * inputs + input]; }
  double at(int output, int input) const { return weight[output * inputs + input]; }
};
using Network = std::vector<Layer>;

Vector outputs(const Network& network, Vector x) {
  for (std::size_t l = 0; l < network.size(); ++l) {
    const Layer& layer = network[l];
    Vector y = layer.bias;
    for (int i = 0; i < layer.outputs; ++i) {
      for (int j = 0; j < layer.inputs; ++j) y[i] += layer.at(i, j) * x[j];
      if (l + 1 < network.size()) y[i] = std::max(y[i], 0.0);
    }
    x = y;
  }
  return x;
}

/// One entry per parameter: the sum over all paths through it of the other parameters' squares.
Vector diag_g(const Network& network) {
  std::vector<Vector> into{Vector(network.front().inputs, 1.0)};
  for (const Layer& layer : network) {
    Vector sums(layer.outputs);
    for (int i = 0; i < layer.outputs; ++i) {
      sums[i] = layer.bias[i] * layer.bias[i];
      for (int j = 0; j < layer.inputs; ++j)
        sums[i] += layer.at(i, j) * layer.at(i, j) * into.back()[j];
    }
    into.push_back(sums);
  }
  std::vector<Vector> out_of(network.size(), Vector(network.back().outputs, 1.0));
  for (std::size_t l = network.size() - 1; l > 0; --l) {
    const Layer& layer = network[l];
    out_of[l - 1].assign(layer.inputs, 0.0);
    for (int i = 0; i < layer.outputs; ++i)
      for (int j = 0; j < layer.inputs; ++j)
        out_of[l - 1][j] += layer.at(i, j) * layer.at(i, j) * out_of[l][i];
  }
  Vector g;
  for (std::size_t l = 0; l < network.size(); ++l) {
    for (int i = 0; i < network[l].outputs; ++i)
      for (int j = 0; j < network[l].inputs; ++j) g.push_back(out_of[l][i] * into[l][j]);
    g.insert(g.end(), out_of[l].begin(), out_of[l].end());  // biases
  }
  return g;
}

/// B in compressed columns: one per hidden neuron; one row per parameter, in the order of g.
struct Incidence {
  std::vector<std::int32_t> indptr{0}, indices;
  std::vector<std::int8_t> signs;

  void add(std::int32_t row, std::int8_t sign) {
    indices.push_back(row);
    signs.push_back(sign);
  }
};

Incidence incidence(const Network& network) {
  Incidence B;
  std::int32_t first = 0;  // row of the layer's first weight
  for (std::size_t l = 0; l + 1 < network.size(); ++l) {
    const auto [inputs, neurons, weight, bias] = network[l];
    const std::int32_t next = first + (inputs + 1) * neurons;
    for (int h = 0; h < neurons; ++h) {
      for (int j = 0; j < inputs; ++j) B.add(first + h * inputs + j, -1);  // enters
      B.add(first + inputs * neurons + h, -1);
      for (int i = 0; i < network[l + 1].outputs; ++i) B.add(next + i * neurons + h, +1);  // leaves
      B.indptr.push_back(static_cast<std::int32_t>(B.indices.size()));
    }
    first = next;
  }
  return B;
}

void rescale(Network& network, const Vector& u) {
  std::size_t neuron = 0;
  for (std::size_t l = 0; l + 1 < network.size(); ++l)
    for (int h = 0; h < network[l].outputs; ++h) {
      const double lambda = std::exp(u[neuron++] / 2);
      for (int j = 0; j < network[l].inputs; ++j) network[l].at(h, j) *= lambda;
      network[l].bias[h] *= lambda;
      for (int i = 0; i < network[l + 1].outputs; ++i) network[l + 1].at(i, h) /= lambda;
    }
}

int main() {
  const int widths[] = {3, 8, 4, 6, 2};
  Network network;
  int count = 0;
  const auto next = [&] { return std::sin(++count) / 2; };
  for (int l = 0; l + 1 < 5; ++l) {
    Layer layer{widths[l], widths[l + 1], Vector(widths[l] * widths[l + 1]), Vector(widths[l + 1])};
    std::generate(layer.weight.begin(), layer.weight.end(), next);
    std::generate(layer.bias.begin(), layer.bias.end(), next);
    network.push_back(layer);
  }
  const Vector x{1.0, -2.0, 0.5};
  const Vector before = outputs(network, x);

  const Incidence B = incidence(network);
  const Vector g = diag_g(network);
  const pathcond::IncidenceView<std::int32_t, std::int8_t> view{
      .rows = static_cast<std::int64_t>(g.size()),
      .columns = static_cast<std::int64_t>(B.indptr.size()) - 1,
      .indptr = B.indptr.data(),
      .indices = B.indices.data(),
      .values = B.signs.data(),
      .entries = static_cast<std::int64_t>(B.indices.size())};
  const pathcond::Solution solution = pathcond::solve(view, std::span<const double>(g));
  rescale(network, solution.u);

  for (const double u : solution.u) std::printf("lambda %.17g\n", std::exp(u / 2));
  const Vector after = outputs(network, x);
  double change = 0;
  for (std::size_t i = 0; i < after.size(); ++i)
    change = std::max(change, std::abs(after[i] - before[i]));
  std::printf("change %.3g\n%s\n", change, pathcond::name(solution.status));
  return solution.converged() && change < 1e-12 ? 0 : 1;
}
