#pragma once

#include <optional>
#include <variant>

#include "cuda/merge.hpp"
#include "cuda/merge_rows.hpp"
#include "cuda/read_columns.hpp"
#include "cuda/solve.hpp"

namespace pathcond::cuda {

/// More pairs per neuron than this, of irregular tensors, are too many for the host: copying them
/// there and back takes longer than sorting all rows.
inline constexpr std::int64_t kMostPairsPerNeuron = 16;

template <class Machine, class G>
MergedProblem twins_or_pairs(RowMerge<Machine, G>& rows) {
  if (auto merged = rows.blocks_of_twins()) return std::move(*merged);
  return rows.pairs();
}

/// By tensors, or row by row where those do not tell, or tell the host too much; between the groups
/// of tensors wherever the host does so.
template <class Machine, class G>
std::optional<MergedProblem> merge_on(Machine& machine, const Panels<G>& input, Method method,
                                      Monitor& monitor) {
  PanelLayout<G> layout(input);
  const bool arranged = layout.arrange();
  const auto by_tensors = [&]() -> std::optional<Merged> {
    if (!arranged) return std::nullopt;
    return DeviceMerge<Machine, G>(machine, input, layout, method, monitor).run();
  };
  const bool few = layout.pairs() <= kMostPairsPerNeuron * input.neurons;
  if (few)
    if (auto merged = by_tensors()) return std::move(*merged);
  SortedRows<Machine, G> rows(machine);
  if (!rows.read(input)) return std::nullopt;
  RowMerge<Machine, G> by_rows(machine, rows, input.neurons, method, monitor);
  if (arranged)
    if (auto merged = by_rows.blocks_of(layout)) return std::move(*merged);
  if (!few)
    if (auto merged = by_tensors()) return std::move(*merged);
  return twins_or_pairs(by_rows);
}

/// Merges and minimises on a machine.
template <class Machine>
std::optional<Solution> solve_on(Machine& machine, const DevicePanels& panels,
                                 const Options& options) {
  return std::visit(
      [&](const auto& input) {
        const auto merge = [&](Monitor& monitor) {
          return merge_on(machine, input, options.method, monitor);
        };
        return pathcond::solve(input.rows, input.neurons, merge, options);
      },
      panels);
}

template <class Machine>
std::optional<Solution> solve_on(Machine& machine, const DeviceColumns& columns,
                                 const Options& options) {
  const auto solve_view = [&](const auto& B) {
    const auto merge = [&](Monitor& monitor) {
      const auto tensors = recognise(machine, B);
      return std::visit(
          [&]<class G>(const G* g) -> std::optional<MergedProblem> {
            if (tensors) return merge_on(machine, tensors->over(g), options.method, monitor);
            SortedRows<Machine, G> rows(machine);
            if (!rows.read(B, g)) return std::nullopt;
            RowMerge<Machine, G> by_rows(machine, rows, B.columns, options.method, monitor);
            return twins_or_pairs(by_rows);
          },
          columns.g);
    };
    return pathcond::solve(B.rows, static_cast<std::int32_t>(B.columns), merge, options);
  };
  return std::visit([&](const auto& index) { return std::visit(solve_view, index); }, columns.B);
}

template <class Machine>
std::optional<Solution> solve_on(Machine& machine, const DeviceProblem& problem,
                                 const Options& options) {
  return std::visit([&](const auto& any) { return solve_on(machine, any, options); }, problem);
}

}  // namespace pathcond::cuda
