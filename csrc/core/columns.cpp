#include "core/columns.hpp"

#include <algorithm>
#include <limits>

#include "pathcond/solve.hpp"

namespace pathcond {

void ColumnProblem::multiply(const std::vector<double>& z, std::vector<double>& q) const {
  std::fill(q.begin(), q.end(), 0.0);
  for (std::size_t h = 0; h + 1 < class_begin.size(); ++h)
    for (auto c = class_begin[h]; c < class_begin[h + 1]; ++c) {
      const double step = class_value[c] * z[h];
      for (auto k = class_ptr[c]; k < class_ptr[c + 1]; ++k) q[row[k]] += step;
    }
}

void ColumnProblem::multiply_transposed(const std::vector<double>& q,
                                        std::vector<double>& z) const {
  for (std::size_t h = 0; h + 1 < class_begin.size(); ++h) {
    z[h] = 0;
    for (auto c = class_begin[h]; c < class_begin[h + 1]; ++c) {
      double sum = 0;
      for (auto k = class_ptr[c]; k < class_ptr[c + 1]; ++k) sum += q[row[k]];
      z[h] += class_value[c] * sum;
    }
  }
}

ColumnProblem to_columns(const PairProblem& pairs) {
  const auto H = static_cast<std::size_t>(pairs.neurons);
  if (pairs.pairs() + 2 * static_cast<std::int64_t>(H) > std::numeric_limits<std::int32_t>::max())
    throw InvalidInput("B: more than 2^31 - 1 different rows");
  ColumnProblem problem;
  problem.neurons = pairs.neurons;
  problem.rows = static_cast<double>(pairs.rows);
  problem.constant = pairs.constant;
  problem.log_scale = pairs.log_scale;
  problem.degree = pairs.degree;
  problem.frozen = pairs.frozen;
  problem.weight = pairs.weight;

  std::vector<std::int64_t> leave_ptr(H + 1, 0);
  for (const auto a : pairs.leave) ++leave_ptr[static_cast<std::size_t>(a) + 1];
  for (std::size_t h = 0; h < H; ++h) leave_ptr[h + 1] += leave_ptr[h];
  std::vector<std::int32_t> leaving(pairs.leave.size());
  {
    auto next = leave_ptr;
    for (std::size_t k = 0; k < pairs.leave.size(); ++k)
      leaving[next[pairs.leave[k]]++] = static_cast<std::int32_t>(k);
  }

  const auto single_row = [&](double weight) {
    problem.weight.push_back(weight);
    problem.row.push_back(static_cast<std::int32_t>(problem.weight.size() - 1));
  };
  problem.class_begin.push_back(0);
  for (std::size_t h = 0; h < H; ++h) {
    for (const double value : {-1.0, 1.0}) {
      const auto first = std::ssize(problem.row);
      if (value < 0) {
        for (auto k = pairs.enter_ptr[h]; k < pairs.enter_ptr[h + 1]; ++k)
          problem.row.push_back(static_cast<std::int32_t>(k));
        if (pairs.enter_only[h] > 0) single_row(pairs.enter_only[h]);
      } else {
        problem.row.insert(problem.row.end(), leaving.begin() + leave_ptr[h],
                           leaving.begin() + leave_ptr[h + 1]);
        if (pairs.leave_only[h] > 0) single_row(pairs.leave_only[h]);
      }
      if (std::ssize(problem.row) == first) continue;
      problem.class_value.push_back(value);
      problem.class_ptr.push_back(first);
    }
    problem.class_begin.push_back(std::ssize(problem.class_value));
  }
  problem.class_ptr.push_back(std::ssize(problem.row));
  return problem;
}

}  // namespace pathcond
