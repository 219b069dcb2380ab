#include "cuda/host_machine.hpp"
#include "cuda/solve_on.hpp"

namespace pathcond::cuda {

Emulated solve_emulated(const DevicePanels& panels, bool descending, const Memory& memory,
                        const Options& options) {
  HostMachine machine(memory, descending);
  auto solution = solve_on(machine, panels, options);
  return {std::move(solution), machine.waits()};
}

}  // namespace pathcond::cuda
