#pragma once

#include <optional>

#include "cuda/merge.hpp"
#include "cuda/solve.hpp"

namespace pathcond::cuda {

/// Merges and minimises on a machine.
template <class Machine>
std::optional<Solution> solve_on(Machine& machine, const DevicePanels& panels,
                                 const Options& options) {
  return std::visit(
      [&]<class G>(const Panels<G>& input) {
        const auto merge = [&](Monitor& monitor) -> std::optional<Merged> {
          PanelLayout<G> layout(input);
          if (!layout.arrange()) return std::nullopt;
          return DeviceMerge<Machine, G>(machine, input, layout, options.method, monitor).run();
        };
        return pathcond::solve(input.rows, input.neurons, merge, options);
      },
      panels);
}

}  // namespace pathcond::cuda
