// What a build without a CUDA compiler has in the place of the device.

#include "cuda/solve.hpp"
#include "cuda/status.hpp"

namespace pathcond::cuda {

Status status(int) { return {State::not_built, ""}; }

std::optional<Solution> solve(const DeviceProblem&, const Stream&, const Memory&, const Options&) {
  throw DeviceError("this build of pathcond_native has no CUDA code");
}

}  // namespace pathcond::cuda
