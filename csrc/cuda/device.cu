#include <cuda_runtime.h>

#include <algorithm>
#include <string>

#include "cuda/device_machine.cuh"
#include "cuda/scale_parameters_on.hpp"
#include "cuda/solve_on.hpp"
#include "cuda/status.hpp"

namespace pathcond::cuda {
namespace {

/// The least that kernels of this build run on, as 10 major + minor compute capability.
constexpr int kOldestDevice = std::min({__CUDA_ARCH_LIST__}) / 10;

std::string dotted(int major, int minor) {
  return std::to_string(major) + "." + std::to_string(minor);
}
std::string version(int number) { return dotted(number / 1000, number % 1000 / 10); }

}  // namespace

Status status(int device) {
  int driver = 0, devices = 0;
  if (cudaDriverGetVersion(&driver) != cudaSuccess || driver == 0) return {State::no_driver, ""};
  const cudaError_t error = cudaGetDeviceCount(&devices);
  cudaGetLastError();  // the next caller of the runtime is not to find it
  if (error == cudaErrorInsufficientDriver)
    return {State::driver_too_old, "it supports CUDA " + version(driver) + ", this build needs " +
                                       version(CUDART_VERSION)};
  if (error == cudaErrorNoDevice || (error == cudaSuccess && devices == 0))
    return {State::no_device, ""};
  if (error != cudaSuccess) return {State::failed, cudaGetErrorString(error)};
  cudaDeviceProp properties;
  if (const auto failed = cudaGetDeviceProperties(&properties, device); failed != cudaSuccess) {
    cudaGetLastError();
    return {State::failed, cudaGetErrorString(failed)};
  }
  if (10 * properties.major + properties.minor < kOldestDevice)
    return {State::device_too_old, std::string(properties.name) + " has compute capability " +
                                       dotted(properties.major, properties.minor) +
                                       ", this build needs " +
                                       dotted(kOldestDevice / 10, kOldestDevice % 10)};
  return {State::ready, properties.name};
}

std::optional<Solution> solve(const DeviceProblem& problem, const Stream& stream,
                              const Memory& memory, const Options& options) {
  const CurrentDevice current(stream.device);
  DeviceMachine machine(memory, reinterpret_cast<cudaStream_t>(stream.stream));
  return solve_on(machine, problem, options);
}

std::vector<Harmed> scale_parameters(const std::vector<ScaledParameter>& parameters,
                                     std::span<const double> factors, const Stream& stream,
                                     const Memory& memory) {
  const CurrentDevice current(stream.device);
  DeviceMachine machine(memory, reinterpret_cast<cudaStream_t>(stream.stream));
  return scale_parameters_on(machine, parameters, factors);
}

}  // namespace pathcond::cuda
