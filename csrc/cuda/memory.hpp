#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <utility>

namespace pathcond::cuda {

/// Where memory comes from: the caller's allocators, so that what they cache serves us too. It
/// stays theirs, and is given back when the solve is over. They throw when there is none.
struct Memory {
  std::function<void*(std::size_t bytes)> device;
  std::function<void*(std::size_t bytes)> host;  ///< what copies to and from the device use
};

/// Bytes of either kind.
struct Need {
  std::size_t device = 0, host = 0;

  Need& operator+=(const Need& other) {
    device += other.device;
    host += other.host;
    return *this;
  }
};

inline constexpr std::size_t kAlignment = 256;

inline std::size_t aligned(std::size_t bytes) {
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

/// Memory of one kind: one allocation serves what was expected, others what goes beyond.
class Pool {
 public:
  explicit Pool(std::function<void*(std::size_t)> allocate) : allocate_(std::move(allocate)) {}

  void expect(std::size_t bytes) {
    next_ = bytes > 0 ? static_cast<unsigned char*>(allocate_(bytes)) : nullptr;
    left_ = bytes;
  }
  void* take(std::size_t bytes) {
    bytes = aligned(bytes);
    if (bytes > left_) return allocate_(bytes);
    left_ -= bytes;
    return std::exchange(next_, next_ + bytes);
  }

 private:
  std::function<void*(std::size_t)> allocate_;
  unsigned char* next_ = nullptr;
  std::size_t left_ = 0;
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
    bytes_ = aligned(bytes_ + slot.size * sizeof(T));
    return slot;
  }
  std::size_t bytes() const { return bytes_; }

 private:
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
