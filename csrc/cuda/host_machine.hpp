#pragma once

#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <stdexcept>
#include <utility>
#include <vector>

#include "cuda/lane.hpp"
#include "cuda/memory.hpp"

namespace pathcond::cuda {

/// The host in the place of a device: blocks run one after the other. Shared memory begins as NaN,
/// so that nothing read before it was written goes unnoticed, and so does memory given back.
class HostMachine : public Workspace {
 public:
  HostMachine(Memory memory, bool descending)
      : Workspace(std::move(memory), true), descending_(descending) {}

  void give_back_host(void* memory, std::size_t bytes) {
    if (busy_) throw std::logic_error("memory is given back that a device may still use");
    Workspace::give_back_host(memory, bytes);
  }
  void upload(void* to, const void* from, std::size_t bytes) {
    busy_ = true;
    if (bytes > 0) std::memcpy(to, from, bytes);
    copied_ += static_cast<std::int64_t>(bytes);
  }
  void download(void* to, const void* from, std::size_t bytes) { upload(to, from, bytes); }
  void wait() {
    busy_ = false;
    ++waits_;
  }
  /// How often the host has waited for a device.
  std::int64_t waits() const { return waits_; }
  /// Bytes between host and device.
  std::int64_t copied() const { return copied_; }

  template <class Kernel>
  void launch(std::int64_t blocks, const Kernel& kernel) {
    busy_ = true;
    const auto shared = std::make_unique<typename Kernel::Shared>();
    for (std::int64_t k = 0; k < blocks; ++k) {
      std::memset(static_cast<void*>(shared.get()), 0xff, sizeof(*shared));
      kernel(HostLane(descending_ ? blocks - 1 - k : k, descending_), *shared);
    }
  }

  /// Launches that are made again and again.
  class Recording {
   public:
    explicit Recording(HostMachine& machine) : machine_(machine) {}

    template <class Kernel>
    void launch(std::int64_t blocks, const Kernel& kernel) {
      launches_.push_back([=, &machine = machine_] { machine.launch(blocks, kernel); });
    }
    void run() const {
      for (const auto& launch : launches_) launch();
    }

   private:
    HostMachine& machine_;
    std::vector<std::function<void()>> launches_;
  };

 private:
  bool descending_;
  bool busy_ = false;
  std::int64_t waits_ = 0, copied_ = 0;
};

}  // namespace pathcond::cuda
