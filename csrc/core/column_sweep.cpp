#include "core/column_sweep.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>
#include <variant>

#include "core/step.hpp"

namespace pathcond {
namespace {

constexpr double kNone = -std::numeric_limits<double>::infinity();

}  // namespace

ColumnSweep::ColumnSweep(const ColumnProblem& problem, const Box& box, std::vector<double> u,
                         Monitor& monitor)
    : problem_(problem),
      box_(box),
      monitor_(monitor),
      u_(std::move(u)),
      weights_(row_weights(problem, u_)) {}

double ColumnSweep::objective() const {
  const double linear =
      std::inner_product(u_.begin(), u_.end(), problem_.degree.begin(), 0.0) / problem_.rows;
  return std::visit([](const auto& weights) { return weights.log_total(); }, weights_) - linear;
}

template <class Weights>
double ColumnSweep::step(std::size_t neuron, Weights& weights, Outcome& outcome) {
  const auto first = static_cast<std::size_t>(problem_.class_begin[neuron]);
  const auto last = static_cast<std::size_t>(problem_.class_begin[neuron + 1]);
  const auto rows_between = [&](std::size_t from, std::size_t to) {
    return Rows(problem_.row.data() + problem_.class_ptr[from],
                problem_.row.data() + problem_.class_ptr[to]);
  };
  const double p = problem_.rows;
  const double d = problem_.degree[neuron];
  const std::span values(problem_.class_value.data() + first, last - first);
  log_sum_.resize(values.size());
  double log_O = kNone, log_I = kNone;
  bool unit = true;
  for (std::size_t c = 0; c < values.size(); ++c) {
    log_sum_[c] = weights.log_sum(rows_between(first + c, first + c + 1));
    if (log_sum_[c] == kNone) {
      // A long step has taken these rows out of range: wait for fresh weights.
      age_ = kSweepsPerRebuild;
      return 0;
    }
    if (values[c] == 1)
      log_O = log_sum_[c];
    else if (values[c] == -1)
      log_I = log_sum_[c];
    else
      unit = false;
  }
  const auto add_up = [&](double s) {
    double largest = kNone, sum = 0, mean = 0;
    for (std::size_t c = 0; c < values.size(); ++c)
      largest = std::max(largest, log_sum_[c] + values[c] * s);
    for (std::size_t c = 0; c < values.size(); ++c) {
      const double weight = std::exp(log_sum_[c] + values[c] * s - largest);
      sum += weight;
      mean += values[c] * weight;
    }
    return std::pair(largest + std::log(sum), mean / sum);
  };
  const auto [log_touched, mean] = add_up(0);
  const double log_rest = weights.log_rest(rows_between(first, last), log_touched);
  const double touched_share = 1 / (1 + std::exp(log_rest - log_touched));
  outcome.gradient_norm = std::max(
      outcome.gradient_norm, std::abs(box_.projected(u_[neuron], mean * touched_share - d / p)));

  const double end =
      box_.clip(u_[neuron] + (unit ? coordinate_step(p, d, log_O, log_I, log_rest)
                                   : general_step(p, d, log_rest, values, log_sum_)));
  const double s = end - u_[neuron];
  if (s == 0) return 0;
  u_[neuron] = end;
  for (std::size_t c = 0; c < values.size(); ++c)
    weights.multiply(rows_between(first + c, first + c + 1), values[c] * s);
  weights.set_total(log_rest, add_up(s).first);
  return s;
}

ColumnSweep::Outcome ColumnSweep::sweep() {
  if (age_ == kSweepsPerRebuild) {
    weights_ = row_weights(problem_, u_);
    age_ = 0;
  }
  ++age_;
  Outcome outcome{0, 0};
  double travel = 0;
  for (std::size_t h = 0; h < u_.size(); ++h) {
    if (problem_.frozen[h]) continue;
    const double s = std::visit([&](auto& weights) { return step(h, weights, outcome); }, weights_);
    outcome.change += std::abs(s);
    const auto first = problem_.class_begin[h], last = problem_.class_begin[h + 1];
    travel += std::abs(s) * std::max(-problem_.class_value[first], problem_.class_value[last - 1]);
    if (travel > kFar && std::holds_alternative<LinearWeights>(weights_)) {
      weights_ = log_weights(problem_, u_);
      age_ = kSweepsPerRebuild;
    }
    monitor_.advance(2 * (problem_.class_ptr[last] - problem_.class_ptr[first]));
  }
  std::visit([](auto& weights) { weights.sum_up(); }, weights_);
  return outcome;
}

}  // namespace pathcond
