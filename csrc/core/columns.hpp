#pragma once

#include <cstdint>
#include <vector>

#include "core/merge.hpp"

namespace pathcond {

/// A merged problem with any column values. Neuron h owns the classes [class_begin[h],
/// class_begin[h+1]): the rows of class k, row[class_ptr[k]] ... row[class_ptr[k+1]-1], all have
/// the value class_value[k] in column h.
struct ColumnProblem {
  std::int32_t neurons = 0;               ///< H
  double rows = 0;                        ///< p: rows of B with g > 0, before merging
  double constant = 0;                    ///< weight of the empty rows
  double log_scale = 0;                   ///< weights are g exp(-log_scale)
  std::vector<double> degree;             ///< H: d = sum of the column over rows with g > 0
  std::vector<std::uint8_t> frozen;       ///< H: no row with g > 0 touches the neuron
  std::vector<double> weight;             ///< M: sums of g over equal rows
  std::vector<std::int64_t> class_begin;  ///< H + 1
  std::vector<double> class_value;        ///< K
  std::vector<std::int64_t> class_ptr;    ///< K + 1
  std::vector<std::int32_t> row;          ///< merged non-zeros

  /// q = B z on merged rows.
  void multiply(const std::vector<double>& z, std::vector<double>& q) const;
  /// z = B^T q.
  void multiply_transposed(const std::vector<double>& q, std::vector<double>& z) const;
};

/// The same problem by columns.
ColumnProblem to_columns(const PairProblem& pairs);

}  // namespace pathcond
