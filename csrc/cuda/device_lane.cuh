#pragma once

#include "cuda/lane.hpp"

namespace pathcond::cuda {

/// A block of threads on a device, see `HostLane`.
class DeviceLane {
 public:
  __device__ std::int64_t block() const { return blockIdx.x; }

  __device__ static void add(std::uint64_t& to, std::uint64_t number) {
    atomicAdd(reinterpret_cast<unsigned long long*>(&to), number);
  }

  template <class Work>
  __device__ void for_each(int n, const Work& f) const {
    for (int i = static_cast<int>(threadIdx.x); i < n; i += kThreads) f(i);
    __syncthreads();
  }

  template <class Read, class Use>
  __device__ void for_each_read(int n, const Read& read, const Use& use) const {
    read_ahead(n, read, use);
    __syncthreads();
  }

  template <class Part, class Read, class Use>
  __device__ Part fold(int n, const Part& empty, const Read& read, const Use& use) const {
    Part part = empty;
    read_ahead(n, read, [&](int i, const auto& value) { use(i, value, part); });
    return joined(part);
  }

  template <class Part, class Work>
  __device__ Part fold_threads(const Part& empty, const Work& work) const {
    Part part = empty;
    work(static_cast<int>(threadIdx.x), part);
    return joined(part);
  }

 private:
  /// Reads of a thread that are under way at once: enough of them hide the memory's latency.
  static constexpr int kAhead = 8;

  template <class Part>
  __device__ static Part joined(const Part& own) {
    alignas(Part) __shared__ unsigned char memory[sizeof(Part) * kThreads];
    Part* parts = reinterpret_cast<Part*>(memory);
    const int thread = static_cast<int>(threadIdx.x);
    parts[thread] = own;
    __syncthreads();
    for (int half = kThreads / 2; half > 0; half /= 2) {
      if (thread < half) parts[thread].join(parts[thread + half]);
      __syncthreads();
    }
    const Part all = parts[0];
    __syncthreads();  // the memory serves the next fold
    return all;
  }

  template <class Read, class Use>
  __device__ static void read_ahead(int n, const Read& read, const Use& use) {
    for (int first = static_cast<int>(threadIdx.x); first < n; first += kAhead * kThreads) {
      decltype(read(0)) value[kAhead];
#pragma unroll
      for (int k = 0; k < kAhead; ++k)
        if (first + k * kThreads < n) value[k] = read(first + k * kThreads);
#pragma unroll
      for (int k = 0; k < kAhead; ++k)
        if (first + k * kThreads < n) use(first + k * kThreads, value[k]);
    }
  }
};

}  // namespace pathcond::cuda
