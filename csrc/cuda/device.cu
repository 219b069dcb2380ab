#include <cuda_runtime.h>

#include <string>

#include "cuda/device_machine.cuh"
#include "cuda/solve_on.hpp"
#include "cuda/status.hpp"

namespace pathcond::cuda {
namespace {

std::string version(int number) {
  return std::to_string(number / 1000) + "." + std::to_string(number % 1000 / 10);
}

}  // namespace

Status status() {
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
  if (const auto failed = cudaGetDeviceProperties(&properties, 0); failed != cudaSuccess)
    return {State::failed, cudaGetErrorString(failed)};
  return {State::ready, properties.name};
}

std::optional<Solution> solve(const DeviceProblem& problem, const Stream& stream,
                              const Memory& memory, const Options& options) {
  const CurrentDevice current(stream.device);
  DeviceMachine machine(memory, reinterpret_cast<cudaStream_t>(stream.stream));
  return solve_on(machine, problem, options);
}

}  // namespace pathcond::cuda
