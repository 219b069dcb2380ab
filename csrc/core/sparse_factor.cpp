#include "core/sparse_factor.hpp"

#include <algorithm>
#include <numeric>

namespace pathcond {
namespace {

using Neighbours = std::vector<std::vector<std::int32_t>>;

void sort_unique(std::vector<std::int32_t>& list) {
  std::sort(list.begin(), list.end());
  list.erase(std::unique(list.begin(), list.end()), list.end());
}

}  // namespace

SparsePattern::SparsePattern(std::int32_t n,
                             const std::vector<std::pair<std::int32_t, std::int32_t>>& edges)
    : position_(static_cast<std::size_t>(n), -1),
      ptr_{0},
      row_entries_(static_cast<std::size_t>(n)) {
  Neighbours neighbours(static_cast<std::size_t>(n));
  for (const auto& [a, b] : edges) {
    neighbours[a].push_back(b);
    neighbours[b].push_back(a);
  }
  for (auto& list : neighbours) sort_unique(list);

  Neighbours columns;
  for (std::int32_t step = 0; step < n; ++step) {
    std::int32_t next = -1;
    for (std::int32_t node = 0; node < n; ++node)
      if (position_[node] < 0 && (next < 0 || neighbours[node].size() < neighbours[next].size()))
        next = node;
    position_[next] = step;
    order_.push_back(next);
    columns.push_back(std::move(neighbours[next]));
    for (const auto node : columns.back()) {
      // What the eliminated node connected becomes connected.
      auto& list = neighbours[node];
      std::vector<std::int32_t> merged;
      merged.reserve(list.size() + columns.back().size());
      std::set_union(list.begin(), list.end(), columns.back().begin(), columns.back().end(),
                     std::back_inserter(merged));
      std::erase_if(merged, [&](auto other) { return other == node || other == next; });
      list = std::move(merged);
    }
  }
  for (std::int32_t column = 0; column < n; ++column) {
    for (auto& node : columns[column]) node = position_[node];
    std::sort(columns[column].begin(), columns[column].end());
    for (const auto row : columns[column]) {
      row_entries_[row].emplace_back(column, std::ssize(row_));
      row_.push_back(row);
    }
    ptr_.push_back(std::ssize(row_));
  }
}

std::size_t SparsePattern::place(std::int32_t a, std::int32_t b) const {
  const auto column = std::min(position_[a], position_[b]);
  const auto row = std::max(position_[a], position_[b]);
  const auto found =
      std::lower_bound(row_.begin() + ptr_[column], row_.begin() + ptr_[column + 1], row);
  return static_cast<std::size_t>(found - row_.begin());
}

SparseFactor::SparseFactor(const SparsePattern& pattern, const std::vector<double>& diagonal,
                           std::vector<double> lower, std::vector<double> rank_one)
    : pattern_(pattern),
      l_(std::move(lower)),
      pivot_(diagonal.size()),
      rank_one_(std::move(rank_one)),
      solved_rank_one_(rank_one_) {
  // What rounding leaves of a pivot without curvature.
  constexpr double kSmallestPivot = 1e-14;
  std::vector<double> work(diagonal.size());
  for (std::size_t k = 0; k < pivot_.size(); ++k) {
    const auto first = pattern.ptr_[k];
    const auto last = pattern.ptr_[k + 1];
    double pivot = diagonal[pattern.order_[k]];
    const double noise = kSmallestPivot * pivot;
    for (auto e = first; e < last; ++e) work[pattern.row_[e]] = l_[e];
    for (const auto& [column, place] : pattern.row_entries_[k]) {
      const double factor = l_[place] * pivot_[column];
      pivot -= factor * l_[place];
      for (auto e = place + 1; e < pattern.ptr_[column + 1]; ++e)
        work[pattern.row_[e]] -= factor * l_[e];
    }
    pivot_[k] = pivot > noise ? pivot : 0;
    for (auto e = first; e < last; ++e)
      l_[e] = pivot_[k] > 0 ? work[pattern.row_[e]] / pivot_[k] : 0;
  }
  solve_without_rank_one(solved_rank_one_);
  const double rest =
      1 - std::inner_product(rank_one_.begin(), rank_one_.end(), solved_rank_one_.begin(), 0.0);
  // F is flat along A^-1 m where nothing is left: no step along it.
  constexpr double kSmallestRest = 1e-13;
  weight_ = rest > kSmallestRest ? 1 / rest : 0;
}

void SparseFactor::solve_without_rank_one(std::vector<double>& b) const {
  std::vector<double> z(b.size());
  for (std::size_t k = 0; k < z.size(); ++k) z[k] = b[pattern_.order_[k]];
  for (std::size_t k = 0; k < z.size(); ++k)
    for (auto e = pattern_.ptr_[k]; e < pattern_.ptr_[k + 1]; ++e)
      z[pattern_.row_[e]] -= l_[e] * z[k];
  for (std::size_t k = z.size(); k-- > 0;) {
    z[k] = pivot_[k] > 0 ? z[k] / pivot_[k] : 0;
    for (auto e = pattern_.ptr_[k]; e < pattern_.ptr_[k + 1]; ++e)
      z[k] -= l_[e] * z[pattern_.row_[e]];
  }
  for (std::size_t k = 0; k < z.size(); ++k) b[pattern_.order_[k]] = z[k];
}

void SparseFactor::solve(std::vector<double>& b) const {
  solve_without_rank_one(b);
  const double along =
      weight_ * std::inner_product(rank_one_.begin(), rank_one_.end(), b.begin(), 0.0);
  for (std::size_t k = 0; k < b.size(); ++k) b[k] += along * solved_rank_one_[k];
}

}  // namespace pathcond
