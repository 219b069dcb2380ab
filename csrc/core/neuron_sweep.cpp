#include "core/neuron_sweep.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "core/step.hpp"

namespace pathcond {
namespace {

/// A sum of positive terms that has shrunk to this part of itself is taken afresh.
constexpr double kCancellation = 1e-4;

}  // namespace

NeuronSweep::NeuronSweep(const BlockProblem& problem, const Box& box, std::vector<double> u,
                         int threads, Monitor& monitor)
    : problem_(problem),
      box_(box),
      threads_(threads),
      monitor_(monitor),
      group_of_(problem.neurons()),
      visit_(problem.neurons()),
      u_(std::move(u)),
      x_(problem.neurons()),
      y_(problem.neurons()),
      left_(problem.neurons()) {
  for (std::int32_t g = 0; g < problem.groups(); ++g)
    std::fill(group_of_.begin() + problem.group_begin[g],
              group_of_.begin() + problem.group_begin[g + 1], g);
  for (std::size_t k = 0; k < visit_.size(); ++k)
    visit_[problem.order[k]] = static_cast<std::int32_t>(k);
  in_range_ = begin();
}

bool NeuronSweep::begin() {
  for (std::size_t k = 0; k < u_.size(); ++k) {
    if (!(std::abs(u_[k]) <= kFarthest)) return false;
    x_[k] = std::exp(u_[k]);
    y_[k] = 1 / x_[k];
  }
  std::fill(left_.begin(), left_.end(), 0.0);
  std::vector<double> left;
  for (const Block& block : problem_.blocks) {
    left.resize(static_cast<std::size_t>(block.rows));
    block.scatter(&y_[first(block.target)], left.data(), threads_);
    for (std::size_t k = 0; k < left.size(); ++k) left_[first(block.source) + k] += left[k];
    monitor_.advance(block.stored());
    touched_ += static_cast<double>(block.stored());
  }
  left_before_ = left_;
  total_ = total();
  return true;
}

double NeuronSweep::total() const {
  double sum = problem_.constant;
  for (std::size_t k = 0; k < u_.size(); ++k)
    sum += (problem_.leave_only[k] + left_[k]) * x_[k] + problem_.enter_only[k] * y_[k];
  return sum;
}

double NeuronSweep::objective() const {
  return std::log(total()) -
         std::inner_product(u_.begin(), u_.end(), problem_.degree.begin(), 0.0) / problem_.rows;
}

double NeuronSweep::passes() const {
  return problem_.stored > 0 ? touched_ / static_cast<double>(problem_.stored) : 0;
}

double NeuronSweep::leaving(std::int32_t group, std::size_t neuron) {
  if (!(left_[neuron] > kCancellation * left_before_[neuron])) {
    const auto row = static_cast<std::int32_t>(neuron - first(group));
    left_[neuron] = 0;
    for (const auto id : problem_.out_blocks[group]) {
      const Block& block = problem_.blocks[id];
      left_[neuron] += block.row_sum(row, &y_[first(block.target)]);
    }
    left_before_[neuron] = left_[neuron];
  }
  return left_[neuron];
}

bool NeuronSweep::step(std::int32_t group, std::size_t neuron, ColumnSweep::Outcome& outcome) {
  double right = problem_.enter_only[neuron];
  const auto column = static_cast<std::int32_t>(neuron - first(group));
  for (const auto id : problem_.in_blocks[group]) {
    const Block& block = problem_.blocks[id];
    right += block.column_sum(column, &x_[first(block.source)]);
  }
  const double O = (problem_.leave_only[neuron] + leaving(group, neuron)) * x_[neuron];
  const double I = right * y_[neuron];
  const double p = problem_.rows, d = problem_.degree[neuron];
  const double C = total_ - O - I;
  if (!(C > kOutweighed * total_)) return false;
  outcome.gradient_norm = std::max(outcome.gradient_norm,
                                   std::abs(box_.projected(u_[neuron], (O - I) / total_ - d / p)));
  const double end = box_.clip(
      u_[neuron] + (O > 0 && I > 0 ? std::log(positive_root(p, d, O, I, C))
                                   : coordinate_step(p, d, std::log(O), std::log(I), std::log(C))));
  const double s = end - u_[neuron];
  if (s == 0) return true;
  u_[neuron] = end;
  if (!(std::abs(u_[neuron]) <= kFarthest)) return false;
  outcome.change += std::abs(s);
  const double t = std::exp(s), before = y_[neuron];
  x_[neuron] *= t;
  y_[neuron] = 1 / x_[neuron];
  for (const auto id : problem_.in_blocks[group]) {
    const Block& block = problem_.blocks[id];
    block.add_column(column, y_[neuron] - before, &left_[first(block.source)]);
  }
  total_ = C + O * t + I / t;
  return true;
}

std::optional<ColumnSweep::Outcome> NeuronSweep::sweep() {
  const std::vector<double> start = u_;
  ColumnSweep::Outcome outcome{0, 0};
  bool in_range = begin();
  for (std::size_t h = 0; h < visit_.size() && in_range; ++h) {
    const auto neuron = static_cast<std::size_t>(visit_[h]);
    in_range = step(group_of_[neuron], neuron, outcome);
    monitor_.advance(1);
  }
  if (!in_range) {
    u_ = start;
    return std::nullopt;
  }
  touched_ += static_cast<double>(problem_.stored);
  return outcome;
}

}  // namespace pathcond
