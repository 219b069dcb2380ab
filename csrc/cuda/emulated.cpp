#include "cuda/host_machine.hpp"
#include "cuda/scale_parameters_on.hpp"
#include "cuda/solve_on.hpp"

namespace pathcond::cuda {

Emulated solve_emulated(const DeviceProblem& problem, bool late, const Memory& memory,
                        const Options& options) {
  HostMachine machine(memory, late);
  auto solution = solve_on(machine, problem, options);
  return {std::move(solution), machine.waits(), machine.copied()};
}

std::vector<Harmed> scale_parameters_emulated(const std::vector<ScaledParameter>& parameters,
                                              std::span<const double> factors, bool late,
                                              const Memory& memory) {
  HostMachine machine(memory, late);
  return scale_parameters_on(machine, parameters, factors);
}

}  // namespace pathcond::cuda
