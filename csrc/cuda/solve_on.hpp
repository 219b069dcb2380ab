#pragma once

#include <optional>

#include "cuda/merge.hpp"
#include "cuda/solve.hpp"

namespace pathcond::cuda {

/// Merges and minimises on a machine.
template <class Machine>
std::optional<Solution> solve_on(Machine& machine, const DevicePanels& panels,
                                 const Options& options) {
  if (options.method == Method::cd) return std::nullopt;
  return std::visit(
      [&]<class G>(const Panels<G>& input) {
        const auto merge = [&](Monitor& monitor) {
          return DeviceMerge<Machine, G>(machine, input, monitor).run();
        };
        return pathcond::solve(input.rows, input.neurons, merge, options);
      },
      panels);
}

}  // namespace pathcond::cuda
