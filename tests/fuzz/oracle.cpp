#include "fuzz/oracle.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <iomanip>
#include <iostream>
#include <limits>
#include <sstream>
#include <string>

namespace pathcond::fuzz {
namespace {

using Real = long double;

/// What `converged` promises of max |dF/du| / p.
constexpr Real kStationary = 1e-8L;

bool valid(const Options& options, std::int64_t columns) {
  if (options.tolerance && !(*options.tolerance >= 0)) return false;
  if (options.max_sweeps && *options.max_sweeps < 0) return false;
  if (options.threads < 1 || !(options.max_scale >= 1)) return false;
  if (options.u0.empty()) return true;
  return std::ssize(options.u0) == columns &&
         std::all_of(options.u0.begin(), options.u0.end(), [&](double u) {
           return std::abs(u) <= 1e6 && std::abs(u) <= 2 * std::log(options.max_scale) + 1e-12;
         });
}

/// F and its gradient divided by p, and how exact the solver's numbers can be.
struct Evaluation {
  Real objective = 0, gradient = 0, exponent = 1;
  Real largest_value = 1, smallest_value = 1;  ///< of B, in size
  std::int64_t rows = 0;
  std::vector<bool> frozen;
};

/// `edge`: |u_h| at most; a slope that pushes against it does not count.
Evaluation evaluate(const Problem& problem, const std::vector<double>& u, double edge) {
  Evaluation found;
  const auto rows = static_cast<std::size_t>(problem.rows);
  const auto count = [&](std::size_t i) { return problem.count.empty() ? 1 : problem.count[i]; };
  std::vector<Real> v(rows), size(rows);
  const auto for_entries = [&](std::size_t h, const auto& use) {
    for (auto k = problem.indptr[h]; k < problem.indptr[h + 1]; ++k) {
      const auto i = static_cast<std::size_t>(problem.indices[static_cast<std::size_t>(k)]);
      const Real value = problem.values[static_cast<std::size_t>(k)];
      if (problem.g[i] > 0 && value != 0) use(i, value);
    }
  };
  for (std::size_t h = 0; h < u.size(); ++h)
    for_entries(h, [&](std::size_t i, Real value) {
      v[i] += value * u[h];
      size[i] += std::abs(value * u[h]);
    });
  Real largest = -std::numeric_limits<Real>::infinity(), mean = 0, total = 0;
  for (std::size_t i = 0; i < rows; ++i) {
    if (!(problem.g[i] > 0)) continue;
    found.rows += count(i);
    largest = std::max(largest, std::log(static_cast<Real>(problem.g[i])) + v[i]);
    found.exponent = std::max(found.exponent, size[i]);
  }
  std::vector<Real> share(rows);
  const auto p = static_cast<Real>(found.rows);
  for (std::size_t i = 0; i < rows; ++i) {
    if (!(problem.g[i] > 0)) continue;
    share[i] = std::exp(std::log(static_cast<Real>(problem.g[i])) + v[i] - largest);
    total += share[i];
    mean += v[i] * count(i) / p;
  }
  found.objective = largest + std::log(total) - mean;
  for (std::size_t h = 0; h < u.size(); ++h) {
    Real gradient = 0;
    bool frozen = true;
    for_entries(h, [&](std::size_t i, Real value) {
      frozen = false;
      gradient += value * (share[i] / total - count(i) / p);
      found.largest_value = std::max(found.largest_value, std::abs(value));
      found.smallest_value = std::min(found.smallest_value, std::abs(value));
    });
    found.frozen.push_back(frozen);
    const double close = edge * (1 - 3e-15);
    if (!(u[h] >= close && gradient < 0) && !(u[h] <= -close && gradient > 0))
      found.gradient = std::max(found.gradient, std::abs(gradient));
  }
  return found;
}

void require(bool held, const char* message, Real seen = 0, Real allowed = 0) {
  if (!held) throw Wrong(message, static_cast<double>(seen), static_cast<double>(allowed));
}

}  // namespace

Wrong::Wrong(const char* what, double seen, double allowed)
    : std::runtime_error([&] {
        std::ostringstream text;
        text << what << ": " << seen << ", allowed: " << allowed;
        return text.str();
      }()) {}

Verdict expected(const Problem& problem, const Options& options) {
  if (!valid(options, problem.columns())) return Verdict::invalid;
  if (std::ssize(problem.g) != problem.rows || problem.indptr[0] != 0) return Verdict::invalid;
  for (std::size_t h = 0; h + 1 < problem.indptr.size(); ++h)
    if (problem.indptr[h + 1] < problem.indptr[h]) return Verdict::invalid;
  if (problem.indptr.back() > problem.entries) return Verdict::invalid;
  bool sorted = true;
  for (std::size_t h = 0; h + 1 < problem.indptr.size(); ++h)
    for (auto k = problem.indptr[h]; k < problem.indptr[h + 1]; ++k) {
      const auto row = problem.indices[static_cast<std::size_t>(k)];
      if (row < 0 || row >= problem.rows) return Verdict::invalid;
      if (k > problem.indptr[h]) sorted &= row > problem.indices[static_cast<std::size_t>(k) - 1];
      if (!(std::abs(problem.values[static_cast<std::size_t>(k)]) <= 1e30F))
        return Verdict::invalid;
    }
  double smallest = std::numeric_limits<double>::infinity(), largest = 0;
  for (const double weight : problem.g) {
    if (!(weight >= 0 && std::isfinite(weight))) return Verdict::invalid;
    if (weight > 0) smallest = std::min(smallest, weight);
    largest = std::max(largest, weight);
  }
  if (!sorted) return Verdict::not_canonical;
  const bool wide = largest > 0 && std::log2(largest) - std::log2(smallest) > 2060;
  return wide ? Verdict::either : Verdict::solved;
}

void check(const Problem& problem, const Options& options, const Solution& solution) {
  const auto& [u, objective, initial, gradient, sweeps, passes, status, frozen, rows, merged_rows,
               history, seconds] = solution;
  require(std::ssize(u) == problem.columns(), "size of u");
  for (const double value : u) require(std::isfinite(value), "u is finite", value);
  const double edge = 2 * std::log(options.max_scale);
  for (const double value : u)
    require(std::exp(std::abs(value) / 2) <= options.max_scale, "max_scale", value, edge);
  const auto end = evaluate(problem, u, edge);
  require(rows == end.rows, "rows", rows, end.rows);
  require(merged_rows <= rows, "merged rows", merged_rows, rows);
  require(sweeps <= options.max_sweeps.value_or(default_max_sweeps(options.method)), "sweeps");
  require(std::ssize(history) == sweeps + 1, "size of history");
  require(passes >= 0, "passes");
  for (const auto& [stage, duration] : seconds) require(duration >= 0, "seconds");

  std::vector<double> u0 = options.u0;
  u0.resize(u.size());
  for (double& value : u0) value = std::clamp(value, -edge * (1 - 1e-15), edge * (1 - 1e-15));
  require(frozen.size() == u.size(), "size of frozen");
  for (std::size_t h = 0; h < u.size(); ++h) {
    require((frozen[h] != 0) == end.frozen[h], "frozen", frozen[h], end.frozen[h]);
    if (frozen[h]) require(u[h] == u0[h], "a frozen neuron moved", u[h], u0[h]);
  }
  if (rows == 0) return;

  const auto start = evaluate(problem, u0, edge);
  const auto p = static_cast<Real>(rows);
  // Exponents have a relative rounding, which is an absolute one of F/p and of logarithms of
  // shares.
  const Real rounding = 64 * std::numeric_limits<double>::epsilon() *
                        (10 + std::max(start.exponent, end.exponent) +
                         std::max(std::abs(start.objective), std::abs(end.objective)));
  require(end.objective <= start.objective + rounding, "objective above the start",
          end.objective - start.objective, rounding);
  require(std::abs(objective / p - end.objective) <= rounding, "objective", objective / p,
          end.objective);
  require(std::abs(initial / p - start.objective) <= rounding, "initial objective", initial / p,
          start.objective);
  // Beyond, roundings of large exponents drown what small entries do in a sweep.
  const bool tame = end.largest_value <= 1e6L * end.smallest_value;
  for (std::size_t k = 1; k < history.size() && tame; ++k)
    require((history[k] - history[k - 1]) / p <= rounding, "history rises",
            (history[k] - history[k - 1]) / p, rounding);
  require(std::abs(gradient - end.gradient) <= kStationary + rounding * end.largest_value,
          "gradient_norm", gradient, end.gradient);
  if (status == Status::converged && options.method != Method::cd)
    require(end.gradient <= kStationary + options.tolerance.value_or(0),
            "converged, but the gradient is", end.gradient);
}

void check_equal(const Solution& one, const Solution& other) {
  const auto bits = [](const std::vector<double>& values) {
    std::vector<std::uint64_t> words;
    for (const double value : values) words.push_back(std::bit_cast<std::uint64_t>(value));
    return words;
  };
  require(bits(one.u) == bits(other.u), "u depends on the number of threads");
  require(bits(one.history) == bits(other.history), "history depends on the number of threads");
  require(one.status == other.status, "status depends on the number of threads");
}

void print(const Problem& problem, const Options& options) {
  const auto array = [](const char* label, const auto& numbers) {
    std::cerr << label << " = [";
    for (const auto number : numbers) std::cerr << number << ", ";
    std::cerr << "]\n";
  };
  std::cerr << std::setprecision(17) << "from numpy import inf, nan\n";
  array("data", problem.values);
  array("indices", problem.indices);
  array("indptr", problem.indptr);
  array("g", problem.g);
  array("count", problem.count);
  array("u0", options.u0);
  std::cerr << "# " << problem.rows << " rows, " << problem.entries << " entries, method "
            << static_cast<int>(options.method) << ", threads " << options.threads;
  if (options.tolerance) std::cerr << ", tol " << *options.tolerance;
  if (options.max_sweeps) std::cerr << ", max_sweeps " << *options.max_sweeps;
  if (options.callback) std::cerr << ", with a callback";
  std::cerr << '\n';
}

}  // namespace pathcond::fuzz
