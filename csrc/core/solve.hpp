#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/incidence.hpp"
#include "core/panels.hpp"
#include "core/progress.hpp"
#include "core/weights.hpp"

namespace pathcond {

enum class Method { automatic, cd, newton };

/// "auto", "cd" or "newton"; throws InvalidInput otherwise.
Method method_from(const std::string& name);
const char* name(Status status);

struct Options {
  Method method = Method::automatic;
  /// Without the linear term of F what is minimised, and reported as objective, is
  /// sum_i g_i exp((Bu)_i): what enters every neuron then weighs as much as what leaves it.
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
  int threads = 1;
  Progress::Callback callback;
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

/// A merged problem, and its weights where the blocks do not hold them.
struct Merged {
  MergedPanels problem;
  std::unique_ptr<Weights> weights;
};

/// As below, for a problem of `rows` rows and `neurons` neurons that a backend merges; nullopt
/// where it does not.
std::optional<Solution> solve(std::int64_t rows, std::int32_t neurons,
                              const std::function<std::optional<Merged>(Monitor&)>& merge,
                              const Options& options);

/// As below, from tensors in place of B.
/// nullopt where only B itself serves, see `merge_panels`.
template <class G>
std::optional<Solution> solve(const Panels<G>& panels, const Options& options);

/// Minimises F(u) = p log sum_i g_i exp((Bu)_i) - sum_i (Bu)_i over the rows with g_i > 0, and over
/// the u that `max_scale` allows.
/// Throws InvalidInput or NotCanonical before any work.
template <class Index, class Value, class G>
Solution solve(const IncidenceView<Index, Value>& B, std::span<const G> g, const Options& options);

}  // namespace pathcond
