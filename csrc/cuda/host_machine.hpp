#pragma once

#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "cuda/lane.hpp"
#include "cuda/memory.hpp"

namespace pathcond::cuda {

/// The host in the place of a device: blocks run one after the other. Shared memory begins as NaN,
/// so that nothing read before it was written goes unnoticed.
class HostMachine {
 public:
  HostMachine(Memory memory, bool descending)
      : device_(std::move(memory.device)), host_(std::move(memory.host)), descending_(descending) {}

  /// What will be asked for in all, see `Pool`.
  void expect(const Need& need) {
    device_.expect(need.device);
    host_.expect(need.host);
  }
  void* device(std::size_t bytes) { return device_.take(bytes); }
  void* host(std::size_t bytes) { return host_.take(bytes); }
  void upload(void* to, const void* from, std::size_t bytes) {
    if (bytes > 0) std::memcpy(to, from, bytes);
    copied_ += static_cast<std::int64_t>(bytes);
  }
  void download(void* to, const void* from, std::size_t bytes) { upload(to, from, bytes); }
  void wait() { ++waits_; }
  /// How often the host has waited for a device.
  std::int64_t waits() const { return waits_; }
  /// Bytes between host and device.
  std::int64_t copied() const { return copied_; }

  template <class Kernel>
  void launch(std::int64_t blocks, const Kernel& kernel) const {
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
  Pool device_, host_;
  bool descending_;
  std::int64_t waits_ = 0, copied_ = 0;
};

}  // namespace pathcond::cuda
