#pragma once

#include <cuda_runtime.h>

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "cuda/device_lane.cuh"
#include "cuda/memory.hpp"
#include "cuda/status.hpp"

namespace pathcond::cuda {

inline void check(cudaError_t error, const char* action) {
  if (error == cudaSuccess) return;
  cudaGetLastError();  // the next launch is not to be blamed for it
  throw DeviceError(std::string(action) + ": " + cudaGetErrorString(error));
}

template <class Kernel>
__global__ void __launch_bounds__(kThreads) run_kernel(Kernel kernel) {
  __shared__ typename Kernel::Shared shared;
  kernel(DeviceLane(), shared);
}

/// Makes a device the current one, and restores the other at the end. One that is current already
/// is not set: that would make a context where there is none.
class CurrentDevice {
 public:
  explicit CurrentDevice(int device) : device_(device) {
    check(cudaGetDevice(&before_), "asking for the current device");
    if (before_ != device_) check(cudaSetDevice(device_), "choosing the device of g");
  }
  ~CurrentDevice() {
    if (before_ != device_) cudaSetDevice(before_);
  }
  CurrentDevice(const CurrentDevice&) = delete;
  CurrentDevice& operator=(const CurrentDevice&) = delete;

 private:
  int before_ = 0, device_;
};

/// The caller's device and stream. Nothing is waited for until a result is read.
class DeviceMachine : public Workspace {
 public:
  DeviceMachine(Memory memory, cudaStream_t stream)
      : Workspace(std::move(memory)), stream_(stream) {}
  /// The memory is given back: nothing may use it any more, whatever has been thrown.
  ~DeviceMachine() { cudaStreamSynchronize(stream_); }
  DeviceMachine(const DeviceMachine&) = delete;
  DeviceMachine& operator=(const DeviceMachine&) = delete;

  void upload(void* to, const void* from, std::size_t bytes) const {
    if (bytes == 0) return;  // there may be no memory to name
    check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, stream_), "copying to it");
  }
  void download(void* to, const void* from, std::size_t bytes) const {
    if (bytes == 0) return;
    check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, stream_), "copying from it");
  }
  void wait() const { check(cudaStreamSynchronize(stream_), "waiting for the device"); }

  template <class Kernel>
  void launch(std::int64_t blocks, const Kernel& kernel) const {
    if (blocks == 0) return;
    void* arguments[] = {const_cast<Kernel*>(&kernel)};
    check(cudaLaunchKernel(&run_kernel<Kernel>, dim3(grid(blocks)), dim3(kThreads), arguments, 0,
                           stream_),
          "launching a kernel");
  }

  /// See `HostMachine::Recording`. From the second run on the launches are one graph: building it
  /// takes longer than launching once.
  class Recording {
   public:
    explicit Recording(DeviceMachine& machine) : machine_(machine) {}
    ~Recording() {
      cudaStreamSynchronize(machine_.stream_);
      if (ready_) cudaGraphExecDestroy(ready_);
      if (graph_) cudaGraphDestroy(graph_);
    }
    Recording(const Recording&) = delete;
    Recording& operator=(const Recording&) = delete;

    template <class Kernel>
    void launch(std::int64_t blocks, const Kernel& kernel) {
      if (blocks == 0) return;
      launches_.push_back([=, this](bool now) {
        if (now)
          machine_.launch(blocks, kernel);
        else
          append(blocks, kernel);
      });
    }
    void run() {
      if (std::exchange(ran_, true)) {
        if (!ready_) build();
        check(cudaGraphLaunch(ready_, machine_.stream_), "launching a graph");
        return;
      }
      for (const auto& launch : launches_) launch(true);
    }

   private:
    void build() {
      check(cudaGraphCreate(&graph_, 0), "making a graph");
      for (const auto& launch : launches_) launch(false);
      check(cudaGraphInstantiate(&ready_, graph_, 0), "making a graph");
    }
    /// Nodes follow each other, as launches in a stream do.
    template <class Kernel>
    void append(std::int64_t blocks, Kernel kernel) {
      void* arguments[] = {&kernel};
      cudaKernelNodeParams node{};
      node.func = reinterpret_cast<void*>(&run_kernel<Kernel>);
      node.gridDim = dim3(grid(blocks));
      node.blockDim = dim3(kThreads);
      node.kernelParams = arguments;
      cudaGraphNode_t added{};
      check(cudaGraphAddKernelNode(&added, graph_, &last_, last_ ? 1 : 0, &node),
            "adding to a graph");
      last_ = added;
    }

    DeviceMachine& machine_;
    std::vector<std::function<void(bool now)>> launches_;
    bool ran_ = false;
    cudaGraph_t graph_ = nullptr;
    cudaGraphExec_t ready_ = nullptr;
    cudaGraphNode_t last_ = nullptr;
  };

 private:
  static unsigned grid(std::int64_t blocks) {
    constexpr std::int64_t kMostBlocks = 0x7fffffff;
    if (blocks > kMostBlocks) throw DeviceError("g has more entries than one launch can read");
    return static_cast<unsigned>(blocks);
  }

  cudaStream_t stream_;
};

}  // namespace pathcond::cuda
