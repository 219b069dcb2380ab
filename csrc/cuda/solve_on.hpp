#pragma once

#include <optional>
#include <variant>

#include "cuda/merge.hpp"
#include "cuda/merge_rows.hpp"
#include "cuda/read_columns.hpp"
#include "cuda/solve.hpp"

namespace pathcond::cuda {

template <class Machine, class G>
std::optional<Merged> merge_on(Machine& machine, const Panels<G>& input, Method method,
                               Monitor& monitor) {
  PanelLayout<G> layout(input);
  if (!layout.arrange()) return std::nullopt;
  return DeviceMerge<Machine, G>(machine, input, layout, method, monitor).run();
}

/// Merges and minimises on a machine.
template <class Machine>
std::optional<Solution> solve_on(Machine& machine, const DevicePanels& panels,
                                 const Options& options) {
  return std::visit(
      [&](const auto& input) {
        const auto merge = [&](Monitor& monitor) -> std::optional<MergedProblem> {
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
            if (tensors)
              if (auto merged = merge_on(machine, tensors->over(g), options.method, monitor))
                return std::move(*merged);
            SortedRows<Machine, G> rows(machine);
            if (!rows.read(B, g)) return std::nullopt;
            return RowMerge<Machine, G>(machine, rows, B.columns, options.method, monitor).run();
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
