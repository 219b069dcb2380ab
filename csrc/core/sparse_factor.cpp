#include "core/sparse_factor.hpp"

#include <algorithm>
#include <numeric>

#include "core/serial_lane.hpp"

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
    : ptr_{0},
      left_ptr_(static_cast<std::size_t>(n) + 1, 0),
      position_(static_cast<std::size_t>(n), -1) {
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
  for (auto& column : columns) {
    for (auto& node : column) node = position_[node];
    std::sort(column.begin(), column.end());
    row_.insert(row_.end(), column.begin(), column.end());
    ptr_.push_back(static_cast<std::int32_t>(row_.size()));
    for (const auto row : column) ++left_ptr_[row + 1];
  }
  std::partial_sum(left_ptr_.begin(), left_ptr_.end(), left_ptr_.begin());
  column_.resize(row_.size());
  place_.resize(row_.size());
  auto next = left_ptr_;
  for (std::int32_t column = 0; column < n; ++column)
    for (auto e = ptr_[column]; e < ptr_[column + 1]; ++e) {
      const auto to = next[row_[e]]++;
      column_[to] = column;
      place_[to] = e;
    }
}

PatternView SparsePattern::view() const {
  return {static_cast<std::int32_t>(order_.size()),
          order_.data(),
          ptr_.data(),
          row_.data(),
          left_ptr_.data(),
          column_.data(),
          place_.data()};
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
    : pattern_(pattern.view()),
      l_(std::move(lower)),
      pivot_(diagonal.size()),
      rank_one_(std::move(rank_one)),
      solved_rank_one_(rank_one_) {
  factor(SerialLane(), pattern_, diagonal.data(), l_.data(), pivot_.data());
  solve_without_rank_one(solved_rank_one_);
  weight_ = rank_one_weight(
      1 - std::inner_product(rank_one_.begin(), rank_one_.end(), solved_rank_one_.begin(), 0.0));
}

void SparseFactor::solve_without_rank_one(std::vector<double>& b) const {
  std::vector<double> z(b.size());
  for (std::size_t k = 0; k < z.size(); ++k) z[k] = b[pattern_.order[k]];
  solve_factored<1>(SerialLane(), pattern_, l_.data(), pivot_.data(), z.data());
  for (std::size_t k = 0; k < z.size(); ++k) b[pattern_.order[k]] = z[k];
}

void SparseFactor::solve(std::vector<double>& b) const {
  solve_without_rank_one(b);
  const double along =
      weight_ * std::inner_product(rank_one_.begin(), rank_one_.end(), b.begin(), 0.0);
  for (std::size_t k = 0; k < b.size(); ++k) b[k] += along * solved_rank_one_[k];
}

}  // namespace pathcond
