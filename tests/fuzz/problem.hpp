#pragma once

#include <cstdint>
#include <vector>

#include "core/solve.hpp"
#include "fuzz/bytes.hpp"

namespace pathcond::fuzz {

/// B by columns and g, every number as the solver gets it. Need not be valid.
struct Problem {
  std::int64_t rows = 0;
  std::int64_t entries = 0;  ///< that the solver is told of
  std::vector<std::int64_t> indptr{0};
  std::vector<std::int64_t> indices;
  std::vector<double> values;
  std::vector<double> g;
  std::vector<std::int64_t> count;  ///< rows behind every row; empty means one

  std::int64_t columns() const { return std::ssize(indptr) - 1; }
};

/// One parameter: its entries in the order (k, e, l, s, r) enter entered[k, e], leave left[k, l].
struct Tensor {
  std::int64_t batch = 1, enters = 1, leaves = 1, repeats = 1, taps = 1;
  std::vector<std::int32_t> entered, left;

  std::int64_t size() const { return batch * enters * leaves * repeats * taps; }
};

struct Network {
  std::int32_t neurons = 0;
  std::vector<Tensor> tensors;

  /// The tensor of every row of B.
  std::vector<int> tensor_of_row() const;
};

/// Chains of layers, layers with skips, streams that are read and written, anything.
Network decode_network(Bytes& bytes);
/// B of a network, its rows tensor by tensor; without its g.
Problem matrix_of(const Network& network);
/// A network's B or any other, as a rule with nothing wrong; without its g.
Problem decode_matrix(Bytes& bytes);
/// A weight for every row, of decades up to the whole range of double precision; as a rule valid.
/// `part` numbers what belongs together.
std::vector<double> decode_weights(Bytes& bytes, const std::vector<int>& part);
/// Does to a valid problem what callers may do.
void corrupt(Bytes& bytes, Problem& problem);

/// Thrown by a callback.
struct Interrupted {};
Options decode_options(Bytes& bytes, std::int64_t columns);

}  // namespace pathcond::fuzz
