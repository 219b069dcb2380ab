#include "core/column_sweep.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>

#include "core/step.hpp"

namespace pathcond {

ColumnSweep::ColumnSweep(const ColumnProblem& problem, std::vector<double> u, Monitor& monitor)
    : problem_(problem), monitor_(monitor), u_(std::move(u)), w_(problem.weight.size()) {
  std::int64_t widest = 0;
  for (std::int32_t h = 0; h < problem.neurons; ++h)
    widest = std::max(widest, problem.class_begin[h + 1] - problem.class_begin[h]);
  class_sum_.resize(static_cast<std::size_t>(widest));
  rebuild();
}

void ColumnSweep::rebuild() {
  problem_.multiply(u_, w_);
  double largest = 0;
  for (const double q : w_) largest = std::max(largest, std::abs(q));
  log_shift_ = 0;
  if (largest < kSafeExponent) {
    for (std::size_t i = 0; i < w_.size(); ++i) w_[i] = problem_.weight[i] * std::exp(w_[i]);
  } else {
    log_shift_ = problem_.constant > 0 ? std::log(problem_.constant)
                                       : -std::numeric_limits<double>::infinity();
    for (std::size_t i = 0; i < w_.size(); ++i) {
      w_[i] += std::log(problem_.weight[i]);
      log_shift_ = std::max(log_shift_, w_[i]);
    }
    for (double& w : w_) w = std::exp(w - log_shift_);
  }
  constant_ = problem_.constant * std::exp(-log_shift_);
  total_ = std::accumulate(w_.begin(), w_.end(), constant_);
  age_ = 0;
}

double ColumnSweep::objective() const {
  const double linear =
      std::inner_product(u_.begin(), u_.end(), problem_.degree.begin(), 0.0) / problem_.rows;
  return std::log(total_) + log_shift_ - linear;
}

double ColumnSweep::step(std::size_t neuron, Outcome& outcome) {
  const auto first = problem_.class_begin[neuron];
  const auto last = problem_.class_begin[neuron + 1];
  const double p = problem_.rows;
  const double d = problem_.degree[neuron];
  double touched = 0, mean = 0, leaving = 0, entering = 0;
  bool unit = true;
  for (auto c = first; c < last; ++c) {
    double sum = 0;
    for (auto k = problem_.class_ptr[c]; k < problem_.class_ptr[c + 1]; ++k)
      sum += w_[problem_.row[k]];
    class_sum_[c - first] = sum;
    touched += sum;
    const double value = problem_.class_value[c];
    mean += value * sum;
    if (value == 1)
      leaving = sum;
    else if (value == -1)
      entering = sum;
    else
      unit = false;
  }
  outcome.gradient_norm = std::max(outcome.gradient_norm, std::abs(mean / total_ - d / p));

  const double rest = std::max(0.0, total_ - touched);
  const auto count = static_cast<std::size_t>(last - first);
  const double s = unit ? coordinate_step(p, d, leaving, entering, rest)
                        : general_step(p, d, rest, {&problem_.class_value[first], count},
                                       {class_sum_.data(), count});
  if (s == 0) return 0;
  total_ = rest;
  for (auto c = first; c < last; ++c) {
    const double factor = std::exp(problem_.class_value[c] * s);
    total_ += class_sum_[c - first] * factor;
    for (auto k = problem_.class_ptr[c]; k < problem_.class_ptr[c + 1]; ++k)
      w_[problem_.row[k]] *= factor;
  }
  monitor_.advance(2 * (problem_.class_ptr[last] - problem_.class_ptr[first]));
  return s;
}

ColumnSweep::Outcome ColumnSweep::sweep() {
  const double exponent = std::abs(std::log(total_));
  if (age_ == kSweepsPerRebuild || !(exponent < 2 * kSafeExponent)) rebuild();
  ++age_;
  total_ = std::accumulate(w_.begin(), w_.end(), constant_);
  Outcome outcome{0, 0};
  for (std::size_t h = 0; h < u_.size(); ++h) {
    if (problem_.frozen[h]) continue;
    const double s = step(h, outcome);
    u_[h] += s;
    outcome.change += std::abs(s);
  }
  return outcome;
}

}  // namespace pathcond
