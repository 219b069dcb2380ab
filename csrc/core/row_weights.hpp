#pragma once

#include <cstdint>
#include <span>
#include <variant>
#include <vector>

#include "core/columns.hpp"

namespace pathcond {

using Rows = std::span<const std::int32_t>;

/// The weights w_i = g_i exp((Bu)_i - log_scale) of merged rows as plain numbers: a step costs one
/// multiplication per row.
class LinearWeights {
 public:
  LinearWeights(const ColumnProblem& problem, std::vector<double> exponents, double log_scale);

  double log_sum(Rows rows) const;
  /// log of the weight of all rows but these, whose weight is exp(log_touched).
  double log_rest(Rows rows, double log_touched);
  void multiply(Rows rows, double log_factor);
  /// The rest of the weight is exp(log_rest), that of the rows just multiplied exp(log_touched).
  void set_total(double log_rest, double log_touched);
  double log_total() const;
  /// Forgets the roundings of incremental totals.
  void sum_up();

 private:
  std::vector<double> w_;
  double constant_, log_scale_;
  double total_ = 0;
};

/// The same as logarithms, for weights that do not fit the range of a double together.
class LogWeights {
 public:
  LogWeights(const ColumnProblem& problem, std::vector<double> exponents);

  double log_sum(Rows rows) const;
  double log_rest(Rows rows, double log_touched);
  void multiply(Rows rows, double log_factor);
  void set_total(double log_rest, double log_touched);
  double log_total() const { return log_total_; }
  void sum_up();

 private:
  std::vector<double> log_w_;
  double log_constant_;
  double log_total_ = 0;
};

using RowWeights = std::variant<LinearWeights, LogWeights>;

/// From scratch at u, in the form that their spread allows.
RowWeights row_weights(const ColumnProblem& problem, const std::vector<double>& u);
LogWeights log_weights(const ColumnProblem& problem, const std::vector<double>& u);

}  // namespace pathcond
