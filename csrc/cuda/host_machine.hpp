#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <span>
#include <stdexcept>
#include <utility>
#include <vector>

#include "cuda/lane.hpp"
#include "cuda/memory.hpp"

namespace pathcond::cuda {

/// The host in the place of a device, at one end of what a device may do. Early: all that it is
/// asked for happens at once, blocks one after the other, threads too. Late: nothing happens before
/// it is waited for, then blocks and threads go in descending order; copies read their source only
/// then, and until then what they are to bring is NaN: only what has to be read from there before
/// happens earlier. Shared memory begins as NaN, so that nothing read before it was written goes
/// unnoticed, and so does memory given back.
class HostMachine : public Workspace {
 public:
  HostMachine(Memory memory, bool late)
      : Workspace({forgotten(std::move(memory.device)), forgotten(std::move(memory.host))}),
        late_(late) {}
  /// See `DeviceMachine`.
  ~HostMachine() { finish(); }
  HostMachine(const HostMachine&) = delete;
  HostMachine& operator=(const HostMachine&) = delete;

  void give_back_device(void* memory, std::size_t bytes) {
    in_order([=] { forget(memory, aligned(bytes)); });
    Workspace::give_back_device(memory, bytes);
  }
  void give_back_host(void* memory, std::size_t bytes) {
    if (busy_) throw std::logic_error("memory is given back that a device may still use");
    forget(memory, aligned(bytes));
    Workspace::give_back_host(memory, bytes);
  }
  void upload(void* to, const void* from, std::size_t bytes) {
    copy(to, from, bytes);
    if (late_) read_.push_back({static_cast<const unsigned char*>(from), bytes});
  }
  void download(void* to, const void* from, std::size_t bytes) {
    if (late_) {
      if (is_read(static_cast<const unsigned char*>(to), bytes)) finish();
      forget(to, bytes);
    }
    copy(to, from, bytes);
  }
  void wait() {
    finish();
    busy_ = false;
    ++waits_;
  }
  /// How often the host has waited for a device.
  std::int64_t waits() const { return waits_; }
  /// Bytes between host and device.
  std::int64_t copied() const { return copied_; }

  template <class Kernel>
  void launch(std::int64_t blocks, const Kernel& kernel) {
    start([=, late = late_] {
      const auto shared = std::make_unique<typename Kernel::Shared>();
      for (std::int64_t k = 0; k < blocks; ++k) {
        forget(shared.get(), sizeof(*shared));
        kernel(HostLane(late ? blocks - 1 - k : k, late), *shared);
      }
    });
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
  static void forget(void* memory, std::size_t bytes) {
    if (bytes > 0) std::memset(memory, 0xff, bytes);
  }
  /// An allocator whose memory begins as NaN.
  static std::function<void*(std::size_t)> forgotten(std::function<void*(std::size_t)> allocate) {
    return [allocate = std::move(allocate)](std::size_t bytes) {
      void* memory = allocate(bytes);
      forget(memory, bytes);
      return memory;
    };
  }

  void copy(void* to, const void* from, std::size_t bytes) {
    copied_ += static_cast<std::int64_t>(bytes);
    start([=] {
      if (bytes > 0) std::memcpy(to, from, bytes);
    });
  }
  bool is_read(const unsigned char* memory, std::size_t bytes) const {
    return std::any_of(read_.begin(), read_.end(), [=](const auto& piece) {
      return piece.data() < memory + bytes && memory < piece.data() + piece.size();
    });
  }

  void start(std::function<void()> work) {
    busy_ = true;
    in_order(std::move(work));
  }
  void in_order(std::function<void()> work) {
    if (late_)
      under_way_.push_back(std::move(work));
    else
      work();
  }
  void finish() {
    for (const auto& work : under_way_) work();
    under_way_.clear();
    read_.clear();
  }

  bool late_;
  bool busy_ = false;
  std::vector<std::function<void()>> under_way_;
  std::vector<std::span<const unsigned char>> read_;  ///< by uploads that are under way
  std::int64_t waits_ = 0, copied_ = 0;
};

}  // namespace pathcond::cuda
