#include "cuda/host_machine.hpp"
#include "cuda/solve_on.hpp"

namespace pathcond::cuda {

Emulated solve_emulated(const DeviceProblem& problem, bool descending, const Memory& memory,
                        const Options& options) {
  HostMachine machine(memory, descending);
  auto solution = solve_on(machine, problem, options);
  return {std::move(solution), machine.waits()};
}

}  // namespace pathcond::cuda
