// What a build without a CUDA compiler has in the place of the device.

#include "cuda/scale_parameters.hpp"
#include "cuda/solve.hpp"
#include "cuda/status.hpp"

namespace pathcond::cuda {

namespace {

constexpr const char* kNotBuilt = "this build of pathcond_native has no CUDA code";

}  // namespace

Status status(int) { return {State::not_built, ""}; }

std::optional<Solution> solve(const DeviceProblem&, const Stream&, const Memory&, const Options&) {
  throw DeviceError(kNotBuilt);
}

std::vector<Harmed> scale_parameters(const std::vector<ScaledParameter>&, std::span<const double>,
                                     const Stream&, const Memory&) {
  throw DeviceError(kNotBuilt);
}

}  // namespace pathcond::cuda
