#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "pathcond/export.h"

/// Path-conditioned rescaling of ReLU networks (arXiv 2602.19799): the solver. A network of p
/// parameters and H hidden neurons is described by B (p, H) and g = diag(G) (p); the solution u (H)
/// says that what enters neuron h is to be multiplied by exp(u_h / 2), what leaves it divided.
namespace pathcond {

/// An argument is unusable; the message says which, what was expected and what came.
struct PATHCOND_API InvalidInput : std::invalid_argument {
  using std::invalid_argument::invalid_argument;
};

/// Row indices of a column are unsorted or repeated: sort them, add repeated entries up, try again.
struct PATHCOND_API NotCanonical : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// The matrix B (p rows, H columns) as compressed sparse columns, borrowed from the caller for the
/// duration of a call. +1: the row's parameter leaves the column's neuron, -1: it enters it; other
/// reals are allowed. Within a column rows increase strictly.
template <class Index, class Value>
struct IncidenceView {
  static_assert(std::is_same_v<Index, std::int32_t> || std::is_same_v<Index, std::int64_t>,
                "Index is std::int32_t or std::int64_t");
  static_assert(std::is_same_v<Value, std::int8_t> || std::is_same_v<Value, std::int32_t> ||
                    std::is_same_v<Value, std::int64_t> || std::is_same_v<Value, float> ||
                    std::is_same_v<Value, double>,
                "Value is std::int8_t, std::int32_t, std::int64_t, float or double");

  std::int64_t rows;     ///< p
  std::int64_t columns;  ///< H
  const Index* indptr;   ///< H + 1
  const Index* indices;  ///< indptr[H]
  const Value* values;   ///< indptr[H]
  std::int64_t entries;  ///< length of `indices` and `values`

  std::int64_t begin(std::int64_t column) const { return indptr[column]; }
  std::int64_t end(std::int64_t column) const { return indptr[column + 1]; }
};

/// automatic: exact to rounding, see `Options::tolerance`; newton: the same by Newton's method
/// alone; cd: the paper's coordinate descent, neurons in order.
enum class Method { automatic, cd, newton };

enum class Status { converged, max_sweeps, stopped_by_callback, stalled };

/// "converged", "max_sweeps", "stopped_by_callback" or "stalled" (rounding allows no step).
PATHCOND_API const char* name(Status status);

struct Options {
  Method method = Method::automatic;
  /// Without the linear term of F what is minimised, and reported as objective, is
  /// sum_i g_i exp((Bu)_i): what enters every neuron then weighs as much as what leaves it. It has
  /// no minimum over a neuron whose entries with g > 0 all have the same sign.
  bool linear = true;
  /// cd: sum over neurons of |change of u| in a sweep; else max |dF/du| / p. Default: see
  /// `default_tolerance`.
  std::optional<double> tolerance;
  /// Default: see `default_max_sweeps`.
  std::optional<std::int64_t> max_sweeps;
  /// Starting point; empty means 0.
  std::vector<double> u0;
  /// Every lambda_h = exp(u_h / 2) stays within [1 / max_scale, max_scale].
  double max_scale = std::numeric_limits<double>::infinity();
  /// Worker threads at most. The solution does not depend on it.
  int threads = 1;
  /// Called after every sweep, on the calling thread; true stops the solve. May throw.
  std::function<bool(std::int64_t sweep, double objective, double gradient_norm)> callback;
  /// Called now and then on the calling thread; may throw to interrupt.
  std::function<void()> poll;
};

/// cd stops where the paper does.
constexpr double default_tolerance(Method method) { return method == Method::cd ? 1e-2 : 1e-12; }
constexpr std::int64_t default_max_sweeps(Method method) {
  return method == Method::cd ? 10 : 1000;
}

struct Solution {
  std::vector<double> u;         ///< H, u_h = 2 log lambda_h
  double objective = 0;          ///< F(u)
  double initial_objective = 0;  ///< F(u0)
  /// max |dF/du| / p at u, recomputed from the merged weights; over the neurons that are not at an
  /// edge of what `max_scale` allows, or that F does not push against it
  double gradient_norm = 0;
  std::int64_t sweeps = 0;  ///< sweeps and Newton steps
  double passes = 0;        ///< reads of the merged weights after the merge, everything counted
  Status status = Status::converged;
  std::vector<std::uint8_t> frozen;                     ///< H: no row with g > 0 touches the neuron
  std::int64_t rows = 0;                                ///< p: rows with g > 0
  std::int64_t merged_rows = 0;                         ///< different rows among them
  std::vector<double> history;                          ///< F at the start and after every sweep
  std::vector<std::pair<std::string, double>> seconds;  ///< per stage

  bool converged() const { return status == Status::converged; }
};

/// Minimises F(u) = p log sum_i g_i exp((Bu)_i) - sum_i (Bu)_i over the rows with g_i > 0, and over
/// the u that `max_scale` allows. G is float or double. Not converging is a status.
/// Throws InvalidInput or NotCanonical before any work, std::bad_alloc, and what callbacks throw.
template <class Index, class Value, class G>
PATHCOND_API Solution solve(const IncidenceView<Index, Value>& B, std::span<const G> g,
                            const Options& options = {});

}  // namespace pathcond
