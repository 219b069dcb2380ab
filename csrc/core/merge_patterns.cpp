#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <unordered_map>
#include <utility>

#include "core/columns.hpp"
#include "core/hash.hpp"
#include "core/instantiate.hpp"
#include "core/merge.hpp"
#include "pathcond/solve.hpp"

namespace pathcond {
namespace {

constexpr std::int64_t kRemoved = -1;
constexpr std::int64_t kEmpty = -2;

/// Row -> merged row, and for every merged row its first row and number of rows.
struct Classes {
  std::vector<std::int64_t> of_row;
  std::vector<std::int64_t> first;
  std::vector<std::int64_t> count;
};

/// Rows are told apart by a 64-bit hash of their entries that does not depend on the order.
template <class Index, class Value>
std::vector<std::int64_t> hash_rows(const IncidenceView<Index, Value>& B, std::uint64_t seed,
                                    Monitor& monitor) {
  std::vector<std::int64_t> hash(static_cast<std::size_t>(B.rows), 0);
  for (std::int64_t h = 0; h < B.columns; ++h) {
    for (std::int64_t k = B.begin(h); k < B.end(h); ++k) {
      if (B.values[k] == 0) continue;
      auto& slot = hash[static_cast<std::size_t>(B.indices[k])];
      slot = std::bit_cast<std::int64_t>(std::bit_cast<std::uint64_t>(slot) +
                                         hash_entry(h, static_cast<double>(B.values[k]), seed));
    }
    monitor.advance(B.end(h) - B.begin(h));
  }
  return hash;
}

template <class G>
Classes number_rows(std::vector<std::int64_t> hash, std::span<const G> g, double scale,
                    ColumnProblem& problem) {
  Classes classes{std::move(hash), {}, {}};
  std::unordered_map<std::int64_t, std::int64_t> known;
  for (std::size_t i = 0; i < g.size(); ++i) {
    auto& slot = classes.of_row[i];
    const double w = static_cast<double>(g[i]) * scale;
    if (g[i] == 0) {
      slot = kRemoved;
      continue;
    }
    if (slot == 0) {
      problem.constant += w;
      slot = kEmpty;
      continue;
    }
    const auto [found, fresh] = known.try_emplace(slot, std::ssize(classes.first));
    if (fresh) {
      classes.first.push_back(static_cast<std::int64_t>(i));
      classes.count.push_back(0);
      problem.weight.push_back(0);
    }
    slot = found->second;
    classes.count[static_cast<std::size_t>(slot)] += 1;
    problem.weight[static_cast<std::size_t>(slot)] += w;
  }
  if (std::ssize(problem.weight) > std::numeric_limits<std::int32_t>::max())
    throw InvalidInput("B: more than 2^31 - 1 different rows");
  return classes;
}

/// Fills the columns; false if two different rows had the same hash.
template <class Index, class Value>
bool fill_columns(const IncidenceView<Index, Value>& B, const Classes& classes,
                  ColumnProblem& problem, Monitor& monitor) {
  std::vector<double> value_of(classes.first.size(), 0.0);
  std::vector<std::int64_t> column_of(classes.first.size(), -1);
  std::vector<std::pair<double, std::int32_t>> column;
  std::int64_t missing = 0;
  for (std::int64_t h = 0; h < B.columns; ++h) {
    column.clear();
    for (std::int64_t k = B.begin(h); k < B.end(h); ++k) {
      const auto merged = classes.of_row[static_cast<std::size_t>(B.indices[k])];
      if (B.values[k] == 0 || merged == kRemoved) continue;
      if (merged == kEmpty) return false;
      if (classes.first[static_cast<std::size_t>(merged)] != B.indices[k]) continue;
      const auto value = static_cast<double>(B.values[k]);
      const auto count = classes.count[static_cast<std::size_t>(merged)];
      value_of[static_cast<std::size_t>(merged)] = value;
      column_of[static_cast<std::size_t>(merged)] = h;
      column.emplace_back(value, static_cast<std::int32_t>(merged));
      problem.degree[static_cast<std::size_t>(h)] += value * static_cast<double>(count);
      missing += count;
    }
    for (std::int64_t k = B.begin(h); k < B.end(h); ++k) {
      const auto merged = classes.of_row[static_cast<std::size_t>(B.indices[k])];
      if (B.values[k] == 0 || merged < 0) continue;
      if (column_of[static_cast<std::size_t>(merged)] != h ||
          value_of[static_cast<std::size_t>(merged)] != static_cast<double>(B.values[k]))
        return false;
      --missing;
    }
    problem.frozen[static_cast<std::size_t>(h)] = column.empty();
    std::sort(column.begin(), column.end());
    for (std::size_t k = 0; k < column.size(); ++k) {
      if (k == 0 || column[k].first != column[k - 1].first) {
        problem.class_value.push_back(column[k].first);
        problem.class_ptr.push_back(std::ssize(problem.row));
      }
      problem.row.push_back(column[k].second);
    }
    problem.class_begin.push_back(std::ssize(problem.class_value));
    monitor.advance(2 * (B.end(h) - B.begin(h)));
  }
  problem.class_ptr.push_back(std::ssize(problem.row));
  return missing == 0;
}

}  // namespace

template <class Index, class Value, class G>
ColumnProblem merge_patterns(const IncidenceView<Index, Value>& B, std::span<const G> g,
                             const WeightSummary& summary, Monitor& monitor) {
  const auto H = static_cast<std::size_t>(B.columns);
  const double scale = scale_for(summary);
  for (std::uint64_t seed = 1; seed <= 3; ++seed) {
    ColumnProblem problem;
    problem.neurons = static_cast<std::int32_t>(B.columns);
    problem.rows = static_cast<double>(summary.positive);
    problem.log_scale = -std::log(scale);
    problem.degree.assign(H, 0.0);
    problem.frozen.assign(H, 1);
    problem.class_begin.assign(1, 0);
    const auto classes = number_rows(hash_rows(B, seed, monitor), g, scale, problem);
    if (fill_columns(B, classes, problem, monitor)) return problem;
  }
  throw std::runtime_error("merging rows of B failed: three hash collisions in a row");
}

#define PATHCOND_MERGE_PATTERNS(Index, Value)                                                    \
  template ColumnProblem merge_patterns(const IncidenceView<Index, Value>&,                      \
                                        std::span<const float>, const WeightSummary&, Monitor&); \
  template ColumnProblem merge_patterns(const IncidenceView<Index, Value>&,                      \
                                        std::span<const double>, const WeightSummary&, Monitor&);
PATHCOND_FOR_EACH_INCIDENCE(PATHCOND_MERGE_PATTERNS)

}  // namespace pathcond
