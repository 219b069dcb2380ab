#include "core/column_objective.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

namespace pathcond {

ColumnObjective::ColumnObjective(const ColumnProblem& problem, std::vector<std::int32_t> coarse,
                                 Monitor& monitor)
    : problem_(problem), monitor_(monitor), coarse_(std::move(coarse)),
      coarse_groups_(coarse_.empty() ? 0 : 1 + *std::max_element(coarse_.begin(), coarse_.end())),
      log_weight_(problem.weight.size()), pi_(problem.weight.size()),
      product_(problem.weight.size()), mean_(static_cast<std::size_t>(problem.neurons)) {
  std::transform(problem.weight.begin(), problem.weight.end(), log_weight_.begin(),
                 [](double w) { return std::log(w); });
}

void ColumnObjective::build_coarse_rows() {
  const std::size_t rows = problem_.weight.size();
  std::vector<std::int64_t> ptr(rows + 1, 0);
  for (const auto i : problem_.row) ++ptr[static_cast<std::size_t>(i) + 1];
  std::partial_sum(ptr.begin(), ptr.end(), ptr.begin());
  std::vector<std::pair<std::int32_t, double>> entry(problem_.row.size());
  auto next = ptr;
  for (std::size_t h = 0; h < mean_.size(); ++h)
    for (auto c = problem_.class_begin[h]; c < problem_.class_begin[h + 1]; ++c)
      for (auto k = problem_.class_ptr[c]; k < problem_.class_ptr[c + 1]; ++k)
        entry[next[problem_.row[k]]++] = {coarse_[h], problem_.class_value[c]};
  coarse_ptr_.push_back(0);
  for (std::size_t i = 0; i < rows; ++i) {
    std::sort(entry.begin() + ptr[i], entry.begin() + ptr[i + 1]);
    for (auto k = ptr[i]; k < ptr[i + 1]; ++k) {
      if (std::ssize(coarse_index_) == coarse_ptr_.back() ||
          coarse_index_.back() != entry[k].first) {
        coarse_index_.push_back(entry[k].first);
        coarse_value_.push_back(0);
      }
      coarse_value_.back() += entry[k].second;
    }
    coarse_ptr_.push_back(std::ssize(coarse_index_));
  }
}

void ColumnObjective::count() {
  passes_ += 1;
  monitor_.advance(2 * std::ssize(problem_.row));
}

void ColumnObjective::evaluate(Point& point) {
  count();
  problem_.multiply(point.u, pi_);
  double shift = std::log(problem_.constant);
  for (std::size_t i = 0; i < pi_.size(); ++i) {
    pi_[i] += log_weight_[i];
    shift = std::max(shift, pi_[i]);
  }
  double total = std::exp(std::log(problem_.constant) - shift);
  for (double& weight : pi_) total += weight = std::exp(weight - shift);
  for (double& weight : pi_) weight /= total;

  double linear = 0;
  for (std::size_t h = 0; h < mean_.size(); ++h) {
    double mean = 0, square = 0;
    for (auto c = problem_.class_begin[h]; c < problem_.class_begin[h + 1]; ++c) {
      const double value = problem_.class_value[c];
      double sum = 0;
      for (auto k = problem_.class_ptr[c]; k < problem_.class_ptr[c + 1]; ++k)
        sum += pi_[problem_.row[k]];
      mean += value * sum;
      square += value * value * sum;
    }
    const double share = problem_.degree[h] / problem_.rows;
    mean_[h] = mean;
    point.curvature[h] = square;
    point.gradient[h] = mean - share;
    linear += share * point.u[h];
  }
  point.value = std::log(total) + shift - linear;
}

void ColumnObjective::hessian_product(const std::vector<double>& z, std::vector<double>& out) {
  count();
  problem_.multiply(z, product_);
  for (std::size_t i = 0; i < product_.size(); ++i) product_[i] *= pi_[i];
  problem_.multiply_transposed(product_, out);
  const double mean_z = std::inner_product(z.begin(), z.end(), mean_.begin(), 0.0);
  for (std::size_t h = 0; h < out.size(); ++h) out[h] -= mean_[h] * mean_z;
}

DenseFactor ColumnObjective::coarse_hessian(double damping) {
  if (coarse_ptr_.empty()) build_coarse_rows();
  count();
  const auto n = static_cast<std::size_t>(coarse_groups_);
  std::vector<double> hessian(n * n, 0.0), mean(n, 0.0);
  for (std::size_t i = 0; i < pi_.size(); ++i)
    for (auto k = coarse_ptr_[i]; k < coarse_ptr_[i + 1]; ++k)
      for (auto l = coarse_ptr_[i]; l < coarse_ptr_[i + 1]; ++l)
        hessian[coarse_index_[k] * n + coarse_index_[l]] +=
            pi_[i] * coarse_value_[k] * coarse_value_[l];
  for (std::size_t h = 0; h < mean_.size(); ++h) {
    mean[coarse_[h]] += mean_[h];
    hessian[coarse_[h] * (n + 1)] += damping;
  }
  for (std::size_t a = 0; a < n; ++a)
    for (std::size_t b = 0; b < n; ++b) hessian[a * n + b] -= mean[a] * mean[b];
  return {std::move(hessian), n};
}

}  // namespace pathcond
