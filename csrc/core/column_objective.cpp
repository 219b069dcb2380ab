#include "core/column_objective.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <set>
#include <utility>

namespace pathcond {

ColumnObjective::ColumnObjective(const ColumnProblem& problem, std::vector<std::int32_t> coarse,
                                 Monitor& monitor)
    : problem_(problem),
      monitor_(monitor),
      coarse_(std::move(coarse)),
      coarse_groups_(coarse_.empty() ? 0 : 1 + *std::max_element(coarse_.begin(), coarse_.end())),
      log_weight_(problem.weight.size()),
      pi_(problem.weight.size()),
      product_(problem.weight.size()),
      mean_(static_cast<std::size_t>(problem.neurons)) {
  std::transform(problem.weight.begin(), problem.weight.end(), log_weight_.begin(),
                 [](double w) { return std::log(w); });
}

void ColumnObjective::build_rows() {
  if (!row_ptr_.empty()) return;
  row_ptr_.assign(problem_.weight.size() + 1, 0);
  for (const auto i : problem_.row) ++row_ptr_[static_cast<std::size_t>(i) + 1];
  std::partial_sum(row_ptr_.begin(), row_ptr_.end(), row_ptr_.begin());
  row_neuron_.resize(problem_.row.size());
  row_value_.resize(problem_.row.size());
  auto next = row_ptr_;
  for (std::size_t h = 0; h < mean_.size(); ++h)
    for (auto c = problem_.class_begin[h]; c < problem_.class_begin[h + 1]; ++c)
      for (auto k = problem_.class_ptr[c]; k < problem_.class_ptr[c + 1]; ++k) {
        const auto place = next[problem_.row[k]]++;
        row_neuron_[place] = static_cast<std::int32_t>(h);
        row_value_[place] = problem_.class_value[c];
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

  double linear = 0, size = std::abs(std::log(total)) + std::abs(shift);
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
    size += std::abs(share * point.u[h]);
  }
  point.value = std::log(total) + shift - linear;
  point.rounding = rounding_of(size);
}

double ColumnObjective::gradient_rounding(const std::vector<double>& u) const {
  // Shares have the relative rounding of the exponents' terms, which may cancel.
  std::vector<double> share(pi_.size());
  std::transform(log_weight_.begin(), log_weight_.end(), share.begin(),
                 [](double term) { return 4 + std::abs(term); });
  const auto for_entries = [&](const auto& use) {
    for (std::size_t h = 0; h < u.size(); ++h)
      for (auto c = problem_.class_begin[h]; c < problem_.class_begin[h + 1]; ++c)
        for (auto k = problem_.class_ptr[c]; k < problem_.class_ptr[c + 1]; ++k)
          use(h, static_cast<std::size_t>(problem_.row[k]), std::abs(problem_.class_value[c]));
  };
  for_entries(
      [&](std::size_t h, std::size_t i, double value) { share[i] += value * std::abs(u[h]); });
  constexpr double kEpsilon = std::numeric_limits<double>::epsilon();
  // Beyond, a share may be any number, whatever it was computed to be.
  if (!(kEpsilon * max_norm(share) < 0.01)) return std::numeric_limits<double>::infinity();
  for (std::size_t i = 0; i < share.size(); ++i) share[i] *= pi_[i];
  std::vector<double> size(u.size()), largest(u.size());
  for_entries([&](std::size_t h, std::size_t i, double value) {
    size[h] += value * share[i];
    largest[h] = std::max(largest[h], value);  // degree / rows is a mean of the column
  });
  return kEpsilon * (max_norm(size) + 4 * max_norm(largest));
}

void ColumnObjective::hessian_product(const std::vector<double>& z, std::vector<double>& out) {
  count();
  problem_.multiply(z, product_);
  for (std::size_t i = 0; i < product_.size(); ++i) product_[i] *= pi_[i];
  problem_.multiply_transposed(product_, out);
  const double mean_z = std::inner_product(z.begin(), z.end(), mean_.begin(), 0.0);
  for (std::size_t h = 0; h < out.size(); ++h) out[h] -= mean_[h] * mean_z;
}

double ColumnObjective::exponent_change(const std::vector<double>& z) {
  problem_.multiply(z, product_);
  return max_norm(product_);
}

/// Calls visit(merged row, its coarse groups, sum of the row's entries by coarse group), with the
/// entries of free neurons.
template <class Visit>
void ColumnObjective::for_each_coarse_row(const std::vector<char>& free, const Visit& visit) {
  std::vector<double> sum(static_cast<std::size_t>(coarse_groups_), 0.0);
  std::vector<std::int32_t> touched;
  for (std::size_t i = 0; i < pi_.size(); ++i) {
    touched.clear();
    for (auto k = row_ptr_[i]; k < row_ptr_[i + 1]; ++k) {
      if (!free[row_neuron_[k]]) continue;
      const auto c = coarse_[row_neuron_[k]];
      if (std::find(touched.begin(), touched.end(), c) == touched.end()) touched.push_back(c);
      sum[c] += row_value_[k];
    }
    visit(i, touched, sum);
    for (const auto c : touched) sum[c] = 0;
  }
}

void ColumnObjective::build_coarse_pattern() {
  std::set<std::pair<std::int32_t, std::int32_t>> edges;
  const std::vector<char> all(mean_.size(), 1);
  for_each_coarse_row(all, [&](std::size_t, const auto& groups, const auto&) {
    for (std::size_t k = 0; k < groups.size(); ++k)
      for (std::size_t l = 0; l < k; ++l) edges.insert(std::minmax(groups[k], groups[l]));
  });
  coarse_pattern_.emplace(coarse_groups_, std::vector(edges.begin(), edges.end()));
}

SparseFactor ColumnObjective::coarse_hessian(double damping, const std::vector<char>& free) {
  build_rows();
  if (!coarse_pattern_) build_coarse_pattern();
  count();
  const auto n = static_cast<std::size_t>(coarse_groups_);
  std::vector<double> curvature(n, 0.0), mean(n, 0.0), coupling(coarse_pattern_->entries(), 0.0);
  for_each_coarse_row(free, [&](std::size_t i, const auto& groups, const auto& sum) {
    for (std::size_t k = 0; k < groups.size(); ++k) {
      curvature[groups[k]] += pi_[i] * sum[groups[k]] * sum[groups[k]];
      for (std::size_t l = 0; l < k; ++l)
        coupling[coarse_pattern_->place(groups[k], groups[l])] +=
            pi_[i] * sum[groups[k]] * sum[groups[l]];
    }
  });
  for (std::size_t h = 0; h < mean_.size(); ++h) {
    if (!free[h]) continue;
    mean[coarse_[h]] += mean_[h];
    curvature[coarse_[h]] += damping;
  }
  return {*coarse_pattern_, curvature, std::move(coupling), std::move(mean)};
}

std::vector<Coupling> ColumnObjective::strong_couplings() {
  build_rows();
  count();
  StrongCouplings strong(mean_.size());
  for (std::size_t i = 0; i < pi_.size(); ++i) {
    // One coupling per row, that of its two largest entries, keeps the forest definite.
    std::int64_t first = -1, second = -1;
    const auto size = [&](std::int64_t k) { return k < 0 ? 0 : std::abs(row_value_[k]); };
    for (auto k = row_ptr_[i]; k < row_ptr_[i + 1]; ++k) {
      if (size(k) > size(first))
        second = std::exchange(first, k);
      else if (size(k) > size(second))
        second = k;
    }
    if (second >= 0)
      strong.offer(row_neuron_[first], row_neuron_[second],
                   pi_[i] * row_value_[first] * row_value_[second]);
  }
  return strong.list();
}

}  // namespace pathcond
