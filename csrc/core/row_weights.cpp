#include "core/row_weights.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>

namespace pathcond {
namespace {

constexpr double kNone = -std::numeric_limits<double>::infinity();

/// Below this share of the total, "total minus the rest" is mostly rounding.
constexpr double kCancellation = 1e-6;

/// Plain numbers keep several hundred e-folds of room for one sweep's steps above this spread.
constexpr double kLinearSpread = 200;

double log_add(double a, double b) {
  const double larger = std::max(a, b);
  return larger == kNone ? kNone : larger + std::log1p(std::exp(std::min(a, b) - larger));
}

template <class Get>
double log_sum_exp(std::size_t count, double start, const Get& get) {
  double largest = start;
  for (std::size_t k = 0; k < count; ++k) largest = std::max(largest, get(k));
  if (largest == kNone) return kNone;
  double sum = std::exp(start - largest);
  for (std::size_t k = 0; k < count; ++k) sum += std::exp(get(k) - largest);
  return largest + std::log(sum);
}

/// Calls `sum` while the given rows have the value `hidden`.
template <class Sum>
auto without_rows(std::vector<double>& values, Rows rows, double hidden, const Sum& sum) {
  std::vector<double> kept(rows.size());
  for (std::size_t k = 0; k < rows.size(); ++k)
    kept[k] = std::exchange(values[static_cast<std::size_t>(rows[k])], hidden);
  const auto result = sum();
  for (std::size_t k = 0; k < rows.size(); ++k) values[static_cast<std::size_t>(rows[k])] = kept[k];
  return result;
}

}  // namespace

LinearWeights::LinearWeights(const ColumnProblem& problem, std::vector<double> exponents,
                             double log_scale)
    : w_(std::move(exponents)),
      constant_(std::exp(std::log(problem.constant) - log_scale)),
      log_scale_(log_scale) {
  const double unit = std::exp(-log_scale);
  for (std::size_t i = 0; i < w_.size(); ++i)
    w_[i] = problem.weight[i] * (w_[i] == 0 ? unit : std::exp(w_[i] - log_scale));
  sum_up();
}

double LinearWeights::log_sum(Rows rows) const {
  double sum = 0;
  for (const auto i : rows) sum += w_[static_cast<std::size_t>(i)];
  return std::log(sum);
}

double LinearWeights::log_rest(Rows rows, double log_touched) {
  const double rest = total_ - std::exp(log_touched);
  if (rest > kCancellation * total_) return std::log(rest);
  return std::log(without_rows(w_, rows, 0.0,
                               [&] { return std::accumulate(w_.begin(), w_.end(), constant_); }));
}

void LinearWeights::multiply(Rows rows, double log_factor) {
  const double factor = std::exp(log_factor);
  for (const auto i : rows) w_[static_cast<std::size_t>(i)] *= factor;
}

void LinearWeights::set_total(double log_rest, double log_touched) {
  total_ = std::exp(log_rest) + std::exp(log_touched);
}

double LinearWeights::log_total() const { return std::log(total_) + log_scale_; }

void LinearWeights::sum_up() { total_ = std::accumulate(w_.begin(), w_.end(), constant_); }

LogWeights::LogWeights(const ColumnProblem& problem, std::vector<double> exponents)
    : log_w_(std::move(exponents)), log_constant_(std::log(problem.constant)) {
  for (std::size_t i = 0; i < log_w_.size(); ++i) log_w_[i] += std::log(problem.weight[i]);
  sum_up();
}

double LogWeights::log_sum(Rows rows) const {
  return log_sum_exp(rows.size(), kNone,
                     [&](std::size_t k) { return log_w_[static_cast<std::size_t>(rows[k])]; });
}

double LogWeights::log_rest(Rows rows, double log_touched) {
  const double share = std::exp(log_touched - log_total_);
  if (1 - share > kCancellation) return log_total_ + std::log1p(-share);
  return without_rows(log_w_, rows, kNone, [&] {
    return log_sum_exp(log_w_.size(), log_constant_, [&](std::size_t i) { return log_w_[i]; });
  });
}

void LogWeights::multiply(Rows rows, double log_factor) {
  for (const auto i : rows) log_w_[static_cast<std::size_t>(i)] += log_factor;
}

void LogWeights::set_total(double log_rest, double log_touched) {
  log_total_ = log_add(log_rest, log_touched);
}

void LogWeights::sum_up() {
  log_total_ = log_sum_exp(log_w_.size(), log_constant_, [&](std::size_t i) { return log_w_[i]; });
}

LogWeights log_weights(const ColumnProblem& problem, const std::vector<double>& u) {
  std::vector<double> exponents(problem.weight.size());
  problem.multiply(u, exponents);
  return LogWeights(problem, std::move(exponents));
}

RowWeights row_weights(const ColumnProblem& problem, const std::vector<double>& u) {
  std::vector<double> exponents(problem.weight.size());
  problem.multiply(u, exponents);
  // Exponents of two are close enough to logarithms to decide by.
  const auto rough_log = [](double weight) { return std::ilogb(weight) * 0.693; };
  double low = std::numeric_limits<double>::infinity(), high = -low;
  if (problem.constant > 0) low = high = rough_log(problem.constant);
  for (std::size_t i = 0; i < exponents.size(); ++i) {
    const double size = rough_log(problem.weight[i]) + exponents[i];
    low = std::min(low, size);
    high = std::max(high, size);
  }
  if (high - low < kLinearSpread) return LinearWeights(problem, std::move(exponents), high);
  return LogWeights(problem, std::move(exponents));
}

}  // namespace pathcond
