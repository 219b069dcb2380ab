#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <variant>

#include "core/monitor.hpp"
#include "core/panels.hpp"
#include "core/weights.hpp"
#include "pathcond/solve.hpp"

namespace pathcond {

/// "auto", "cd" or "newton"; throws InvalidInput otherwise.
Method method_from(const std::string& name);

/// A merged problem, and its weights where the blocks do not hold them.
struct Merged {
  MergedPanels problem;
  std::unique_ptr<Weights> weights;
};

/// What a backend merges to: blocks, or pairs whose neurons are yet to be grouped.
using MergedProblem = std::variant<Merged, PairProblem>;

/// As `solve` from B, for a problem of `rows` rows and `neurons` neurons that a backend merges;
/// nullopt where it does not.
std::optional<Solution> solve(std::int64_t rows, std::int32_t neurons,
                              const std::function<std::optional<MergedProblem>(Monitor&)>& merge,
                              const Options& options);

/// As `solve` from B, from tensors in its place. nullopt where only B itself serves, see
/// `merge_panels`.
template <class G>
std::optional<Solution> solve(const Panels<G>& panels, const Options& options);

}  // namespace pathcond
