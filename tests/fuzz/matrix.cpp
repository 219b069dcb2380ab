#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "fuzz/problem.hpp"

namespace pathcond::fuzz {
namespace {

/// What entries of B are drawn from.
double entry(Bytes& bytes, Random& random, int palette) {
  switch (palette) {
    case 0:
      return random.chance(0.5) ? 1 : -1;
    case 1:
      return static_cast<double>(random.below(7) - 3);
    case 2:
      return random.between(-3, 3);
    case 3:
      return std::exp(random.between(-30, 30)) * (random.chance(0.5) ? 1 : -1);
    case 4:
      return std::pow(10.0, random.between(-30, 30)) * (random.chance(0.5) ? 1 : -1);
    default: {
      static const std::vector<double> special{1,     -1,     2,    -2,    127,   -128,
                                               0.5,   1e-3,   1e30, -1e30, 1e-30, 1e-38,
                                               1e-45, 5e-324, -0.0, 1e308, 0.1,   -0.1};
      return bytes.one_of(special);
    }
  }
}

/// Any B, dense or sparse, by columns.
Problem decode_any(Bytes& bytes) {
  Problem problem;
  const int palette = bytes.below(6);
  problem.rows = bytes.between(0, bytes.rarely(8) ? 250 : 30);
  const int columns = bytes.between(0, bytes.rarely(8) ? 40 : 6);
  const double density = bytes.between(1, 10) * 0.1;
  Random random(bytes.word());
  for (int h = 0; h < columns; ++h) {
    for (std::int64_t row = 0; row < problem.rows; ++row) {
      if (!random.chance(density)) continue;
      problem.indices.push_back(row);
      problem.values.push_back(entry(bytes, random, palette));
    }
    problem.indptr.push_back(std::ssize(problem.indices));
  }
  problem.entries = std::ssize(problem.indices);
  return problem;
}

/// Makes a column linearly dependent on another.
void repeat_column(Bytes& bytes, Problem& problem) {
  if (problem.columns() == 0) return;
  const auto h = static_cast<std::size_t>(bytes.byte()) % (problem.indptr.size() - 1);
  const double factor = bytes.one_of<double>({1, -1, 2, 0.5});
  for (auto k = problem.indptr[h]; k < problem.indptr[h + 1]; ++k) {
    problem.indices.push_back(problem.indices[static_cast<std::size_t>(k)]);
    problem.values.push_back(factor * problem.values[static_cast<std::size_t>(k)]);
  }
  problem.entries = std::ssize(problem.indices);
  problem.indptr.push_back(problem.entries);
}

}  // namespace

Problem decode_matrix(Bytes& bytes) {
  Problem problem = bytes.below(3) < 2 ? matrix_of(decode_network(bytes)) : decode_any(bytes);
  for (int more = bytes.rarely(6) ? bytes.between(1, 3) : 0; more > 0; --more)
    repeat_column(bytes, problem);
  if (bytes.rarely(8)) {  // a squared ReLU, or something like it
    const double factor = bytes.one_of<double>({2, 3, 0.5, 1.5});
    const int every = bytes.between(1, 3);
    for (std::size_t h = 0; h + 1 < problem.indptr.size(); h += static_cast<std::size_t>(every))
      for (auto k = problem.indptr[h]; k < problem.indptr[h + 1]; ++k)
        if (double& value = problem.values[static_cast<std::size_t>(k)]; value < 0) value *= factor;
  }
  return problem;
}

void corrupt(Bytes& bytes, Problem& problem) {
  constexpr auto kMost = std::numeric_limits<std::int64_t>::max();
  constexpr auto kInfinity = std::numeric_limits<double>::infinity();
  const auto place = [&](const auto& array) {
    return (static_cast<std::size_t>(bytes.byte()) * 256 + bytes.byte()) % array.size();
  };
  const auto index = [&] {
    const std::vector<std::int64_t> odd{-1,
                                        0,
                                        problem.rows,
                                        problem.rows - 1,
                                        std::int64_t{1} << 31,
                                        (std::int64_t{1} << 31) - 1,
                                        std::int64_t{1} << 40,
                                        kMost,
                                        -kMost - 1,
                                        bytes.below(256),
                                        -bytes.below(256),
                                        problem.entries,
                                        problem.entries + 1,
                                        std::int64_t{1} << 62};
    return bytes.one_of(odd);
  };
  const std::vector<double> odd_values{0,    std::nan(""), kInfinity, -kInfinity, 1e31, -1e300, 2,
                                       -0.0, 5e-324,       1e30,      -128,       3,    1e-30};
  const std::vector<double> odd_weights{0,      -0.0,    std::nan(""), kInfinity, -kInfinity,
                                        -1,     -5e-324, 5e-324,       1.7e308,   1e-300,
                                        1e-308, 3e38,    1e-45};
  switch (bytes.below(10)) {
    case 0:
      if (!problem.indices.empty()) problem.indices[place(problem.indices)] = index();
      return;
    case 1:
      problem.indptr[place(problem.indptr)] = index();
      return;
    case 2:
      if (!problem.values.empty()) problem.values[place(problem.values)] = bytes.one_of(odd_values);
      return;
    case 3:
      if (!problem.g.empty()) problem.g[place(problem.g)] = bytes.one_of(odd_weights);
      return;
    case 4:  // unsorted
      if (!problem.indices.empty()) {
        const auto a = place(problem.indices), b = place(problem.indices);
        std::swap(problem.indices[a], problem.indices[b]);
        std::swap(problem.values[a], problem.values[b]);
      }
      return;
    case 5:  // repeated
      if (problem.indices.size() > 1) {
        const auto k = std::min(place(problem.indices), problem.indices.size() - 2);
        problem.indices[k + 1] = problem.indices[k];
      }
      return;
    case 6:  // fewer entries than indptr says
      problem.indices.resize(problem.indices.size() -
                             std::min<std::size_t>(problem.indices.size(),
                                                   static_cast<std::size_t>(bytes.between(1, 3))));
      problem.values.resize(problem.indices.size());
      problem.entries = std::ssize(problem.indices);
      return;
    case 7:  // more
      problem.indices.insert(problem.indices.end(), 3, index());
      problem.values.insert(problem.values.end(), 3, bytes.one_of(odd_values));
      problem.entries = std::ssize(problem.indices);
      return;
    case 8:
      problem.rows += bytes.between(-2, 2);
      return;
    default:  // rows that are left out of the problem
      for (std::size_t i = static_cast<std::size_t>(bytes.byte()); i < problem.g.size(); ++i)
        problem.g[i] = 0;
  }
}

}  // namespace pathcond::fuzz
