#pragma once

#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <vector>

/// What `device_lane.cuh` needs of a CUDA compiler, for blocks whose threads are ThreadSanitizer's:
/// one thread of the host is all of them in turn, and what orders them is the barrier alone. Their
/// turns are in `turns.cpp`, which is compiled without the sanitizer.
#define __device__
#define __shared__ static
struct Index {
  unsigned x;
};
extern Index threadIdx, blockIdx;
void __syncthreads();
inline void atomicAdd(unsigned long long* to, unsigned long long number) {
  __atomic_fetch_add(to, number, __ATOMIC_RELAXED);
}
#include "cuda/device_lane.cuh"
#include "cuda/memory.hpp"

/// Every thread of a block does this; whether all have met as many barriers.
bool run_block(const std::function<void()>& work);

/// See `HostMachine`; blocks one after the other.
struct ThreadsMachine {
  std::vector<std::vector<std::int64_t>> memory;
  bool together = true;  ///< whether no threads have parted

  void* device(std::size_t bytes) { return memory.emplace_back(bytes / 8 + 1).data(); }
  void* host(std::size_t bytes) { return device(bytes); }
  void upload(void* to, const void* from, std::size_t bytes) { std::memcpy(to, from, bytes); }
  void download(void* to, const void* from, std::size_t bytes) { upload(to, from, bytes); }
  void wait() {}

  template <class Kernel>
  void launch(std::int64_t blocks, const Kernel& kernel) {
    const auto shared = std::make_unique<typename Kernel::Shared>();
    for (std::int64_t block = 0; block < blocks; ++block) {
      blockIdx.x = static_cast<unsigned>(block);
      together &= run_block([&] { kernel(pathcond::cuda::DeviceLane(), *shared); });
    }
  }
};
