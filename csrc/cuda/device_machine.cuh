#pragma once

#include <cuda_runtime.h>

#include <string>
#include <utility>

#include "cuda/device_lane.cuh"
#include "cuda/memory.hpp"
#include "cuda/status.hpp"

namespace pathcond::cuda {

inline void check(cudaError_t error, const char* action) {
  if (error == cudaSuccess) return;
  throw DeviceError(std::string(action) + ": " + cudaGetErrorString(error));
}

template <class Kernel>
__global__ void __launch_bounds__(kThreads) run_kernel(Kernel kernel) {
  __shared__ typename Kernel::Shared shared;
  kernel(DeviceLane(), shared);
}

/// Makes a device the current one, and restores the other at the end.
class CurrentDevice {
 public:
  explicit CurrentDevice(int device) {
    check(cudaGetDevice(&before_), "asking for the current device");
    check(cudaSetDevice(device), "choosing the device of g");
  }
  ~CurrentDevice() { cudaSetDevice(before_); }
  CurrentDevice(const CurrentDevice&) = delete;
  CurrentDevice& operator=(const CurrentDevice&) = delete;

 private:
  int before_ = 0;
};

/// The caller's device and stream. Nothing is waited for until a result is read.
class DeviceMachine {
 public:
  DeviceMachine(Memory memory, cudaStream_t stream) : memory_(std::move(memory)), stream_(stream) {}
  /// The memory is given back: nothing may use it any more, whatever has been thrown.
  ~DeviceMachine() { cudaStreamSynchronize(stream_); }
  DeviceMachine(const DeviceMachine&) = delete;
  DeviceMachine& operator=(const DeviceMachine&) = delete;

  void* device(std::size_t bytes) const { return memory_.device(bytes); }
  void* host(std::size_t bytes) const { return memory_.host(bytes); }
  void upload(void* to, const void* from, std::size_t bytes) const {
    check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, stream_), "copying to it");
  }
  void download(void* to, const void* from, std::size_t bytes) const {
    check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, stream_), "copying from it");
  }
  void wait() const { check(cudaStreamSynchronize(stream_), "waiting for the device"); }

  template <class Kernel>
  void launch(std::int64_t blocks, const Kernel& kernel) const {
    constexpr std::int64_t kMostBlocks = 0x7fffffff;
    if (blocks == 0) return;
    if (blocks > kMostBlocks) throw DeviceError("g has more entries than one launch can read");
    run_kernel<<<static_cast<unsigned>(blocks), kThreads, 0, stream_>>>(kernel);
    check(cudaGetLastError(), "launching a kernel");
  }

 private:
  Memory memory_;
  cudaStream_t stream_;
};

}  // namespace pathcond::cuda
