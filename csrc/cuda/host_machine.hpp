#pragma once

#include <cstring>
#include <memory>
#include <utility>

#include "cuda/lane.hpp"
#include "cuda/memory.hpp"

namespace pathcond::cuda {

/// The host in the place of a device: blocks run one after the other. Shared memory begins as NaN,
/// so that nothing read before it was written goes unnoticed.
class HostMachine {
 public:
  HostMachine(Memory memory, bool descending)
      : memory_(std::move(memory)), descending_(descending) {}

  void* device(std::size_t bytes) const { return memory_.device(bytes); }
  void* host(std::size_t bytes) const { return memory_.host(bytes); }
  void upload(void* to, const void* from, std::size_t bytes) const { std::memcpy(to, from, bytes); }
  void download(void* to, const void* from, std::size_t bytes) const {
    std::memcpy(to, from, bytes);
  }
  void wait() const {}

  template <class Kernel>
  void launch(std::int64_t blocks, const Kernel& kernel) const {
    const auto shared = std::make_unique<typename Kernel::Shared>();
    for (std::int64_t k = 0; k < blocks; ++k) {
      std::memset(static_cast<void*>(shared.get()), 0xff, sizeof(*shared));
      kernel(HostLane(descending_ ? blocks - 1 - k : k, descending_), *shared);
    }
  }

 private:
  Memory memory_;
  bool descending_;
};

}  // namespace pathcond::cuda
