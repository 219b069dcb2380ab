#include "cuda/host_machine.hpp"
#include "cuda/solve_on.hpp"

namespace pathcond::cuda {

std::optional<Solution> solve_emulated(const DevicePanels& panels, bool descending,
                                       const Memory& memory, const Options& options) {
  HostMachine machine(memory, descending);
  return solve_on(machine, panels, options);
}

}  // namespace pathcond::cuda
