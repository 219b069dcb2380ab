#pragma once

#include "cuda/lane.hpp"

namespace pathcond::cuda {

/// A block of threads on a device, see `HostLane`.
class DeviceLane {
 public:
  __device__ std::int64_t block() const { return blockIdx.x; }

  template <class Work>
  __device__ void for_each(int n, const Work& f) const {
#pragma unroll 4
    for (int i = static_cast<int>(threadIdx.x); i < n; i += kThreads) f(i);
    __syncthreads();
  }

  template <class Part, class Work>
  __device__ Part fold(int n, const Part& empty, const Work& f) const {
    __shared__ alignas(Part) unsigned char memory[sizeof(Part) * kThreads];
    Part* parts = reinterpret_cast<Part*>(memory);
    const int thread = static_cast<int>(threadIdx.x);
    Part part = empty;
#pragma unroll 4
    for (int i = thread; i < n; i += kThreads) f(i, part);
    parts[thread] = part;
    __syncthreads();
    for (int half = kThreads / 2; half > 0; half /= 2) {
      if (thread < half) parts[thread].join(parts[thread + half]);
      __syncthreads();
    }
    part = parts[0];
    __syncthreads();  // the memory serves the next fold
    return part;
  }
};

}  // namespace pathcond::cuda
