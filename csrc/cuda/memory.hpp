#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>

namespace pathcond::cuda {

/// Where memory comes from: the caller's allocators, so that what they cache serves us too. It
/// stays theirs, and is given back when the solve is over. They throw when there is none.
struct Memory {
  std::function<void*(std::size_t bytes)> device;
  std::function<void*(std::size_t bytes)> host;  ///< what copies to and from the device use
};

/// An array in a region.
template <class T>
struct Slot {
  std::size_t offset = 0;
  std::size_t size = 0;
};

/// Arrays laid out one after the other, before there is memory for them.
class Region {
 public:
  template <class T>
  Slot<T> reserve(std::int64_t size) {
    const Slot<T> slot{bytes_, static_cast<std::size_t>(size)};
    bytes_ = (bytes_ + slot.size * sizeof(T) + kAlignment - 1) / kAlignment * kAlignment;
    return slot;
  }
  std::size_t bytes() const { return bytes_; }

 private:
  static constexpr std::size_t kAlignment = 256;
  std::size_t bytes_ = 0;
};

template <class T>
T* at(void* memory, Slot<T> slot) {
  return reinterpret_cast<T*>(static_cast<unsigned char*>(memory) + slot.offset);
}

/// A region on the device whose contents go to or come from the host in one copy.
class Mirrored {
 public:
  template <class T>
  Slot<T> reserve(std::int64_t size) {
    return region_.reserve<T>(size);
  }
  std::size_t bytes() const { return region_.bytes(); }
  /// Takes `bytes()` of either memory.
  void place(void* device, void* host) {
    device_ = device;
    host_ = host;
  }

  template <class T>
  T* device(Slot<T> slot) const {
    return at(device_, slot);
  }
  template <class T>
  T* host(Slot<T> slot) const {
    return at(host_, slot);
  }
  template <class Machine>
  void upload(Machine& machine) const {
    machine.upload(device_, host_, bytes());
  }
  template <class Machine>
  void download(Machine& machine) const {
    machine.download(host_, device_, bytes());
  }

 private:
  Region region_;
  void* device_ = nullptr;
  void* host_ = nullptr;
};

}  // namespace pathcond::cuda
