#pragma once

// In the place of CUDA's header of this name: as much of the runtime as the backend uses, for
// devices whose memory is the host's. What is asked of a stream is done when it is waited for;
// threads of a block are ThreadSanitizer's, and what orders them is the barrier alone, see
// `turns.cpp`.

#include <cstddef>
#include <functional>

#define __global__
#define __host__
#define __device__
#define __shared__ static  // blocks run one after the other, all their threads in turn
#define __launch_bounds__(threads)
#define __CUDA_ARCH_LIST__ 800, 900
#define CUDART_VERSION 13000

struct dim3 {
  unsigned x, y, z;
  dim3(unsigned width = 1) : x(width), y(1), z(1) {}
};
struct Index {
  unsigned x;
};
extern Index threadIdx, blockIdx;
void __syncthreads();
inline void atomicAdd(unsigned long long* to, unsigned long long number) {
  __atomic_fetch_add(to, number, __ATOMIC_RELAXED);
}

enum cudaError_t {
  cudaSuccess = 0,
  cudaErrorInvalidValue = 1,
  cudaErrorInsufficientDriver = 35,
  cudaErrorNoDevice = 100,
  cudaErrorInvalidDevice = 101,
  cudaErrorInvalidResourceHandle = 400,
  cudaErrorLaunchFailure = 719,
  cudaErrorUnknown = 999
};
enum cudaMemcpyKind { cudaMemcpyHostToDevice = 1, cudaMemcpyDeviceToHost = 2 };

using cudaStream_t = struct CUstream_st*;
using cudaGraph_t = struct CUgraph_st*;
using cudaGraphExec_t = struct CUgraphExec_st*;
using cudaGraphNode_t = struct CUgraphNode_st*;

struct cudaDeviceProp {
  char name[256];
  int major, minor;
};
struct cudaKernelNodeParams {
  void* func;
  dim3 gridDim, blockDim;
  unsigned sharedMemBytes;
  void** kernelParams;
  void** extra;
};

cudaError_t cudaGetLastError();
const char* cudaGetErrorString(cudaError_t error);
cudaError_t cudaDriverGetVersion(int* version);
cudaError_t cudaGetDeviceCount(int* count);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device);
cudaError_t cudaGetDevice(int* device);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);
cudaError_t cudaGraphCreate(cudaGraph_t* graph, unsigned flags);
cudaError_t cudaGraphAddKernelNode(cudaGraphNode_t* node, cudaGraph_t graph,
                                   const cudaGraphNode_t* after, std::size_t count,
                                   const cudaKernelNodeParams* kernel);
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* ready, cudaGraph_t graph,
                                 unsigned long long flags);
cudaError_t cudaGraphLaunch(cudaGraphExec_t ready, cudaStream_t stream);
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t ready);
cudaError_t cudaGraphDestroy(cudaGraph_t graph);

/// What a thread does, its arguments as they are now.
using Bound = std::function<void()> (*)(void** arguments);

cudaError_t launch_bound(void* function, Bound bind, dim3 blocks, dim3 threads, void** arguments,
                         cudaStream_t stream);

/// CUDA's own template of this name leads to a function of C, which knows kernels by address.
template <class Kernel>
cudaError_t cudaLaunchKernel(void (*function)(Kernel), dim3 blocks, dim3 threads, void** arguments,
                             std::size_t, cudaStream_t stream) {
  static void (*const run)(Kernel) = function;
  const Bound bind = [](void** given) -> std::function<void()> {
    return [kernel = *static_cast<const Kernel*>(given[0])] { run(kernel); };
  };
  return launch_bound(reinterpret_cast<void*>(function), bind, blocks, threads, arguments, stream);
}
