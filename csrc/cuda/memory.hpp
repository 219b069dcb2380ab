#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <iterator>
#include <map>
#include <utility>

namespace pathcond::cuda {

/// Where memory comes from: the caller's allocators, so that what they cache serves us too. It
/// stays theirs, and is given back when the solve is over. They throw when there is none.
struct Memory {
  std::function<void*(std::size_t bytes)> device;
  /// Pinned: what copies to and from the device use, and kernels may.
  std::function<void*(std::size_t bytes)> host;
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

/// Memory of one kind: one allocation serves what was expected, others what goes beyond. What is
/// given back serves again.
class Pool {
 public:
  explicit Pool(std::function<void*(std::size_t)> allocate) : allocate_(std::move(allocate)) {}

  /// Makes sure that so much is free in one piece.
  void expect(std::size_t bytes) {
    bytes = aligned(bytes);
    if (bytes > 0 && smallest(bytes) == free_.end()) give_back(allocate_(bytes), bytes);
  }
  void* take(std::size_t bytes) {
    bytes = aligned(bytes);
    if (bytes == 0) return nullptr;
    const auto piece = smallest(bytes);
    if (piece == free_.end()) return allocate_(bytes);
    const auto [begin, size] = *piece;
    free_.erase(piece);
    if (size > bytes) free_.emplace(begin + bytes, size - bytes);
    return begin;
  }
  /// What was taken, or any part of it that begins and ends where an array in a region may.
  void give_back(void* memory, std::size_t bytes) {
    bytes = aligned(bytes);
    if (bytes == 0) return;
    const auto piece = free_.emplace(static_cast<unsigned char*>(memory), bytes).first;
    join_next(piece);
    if (piece != free_.begin()) join_next(std::prev(piece));
  }

 private:
  using Pieces = std::map<unsigned char*, std::size_t>;

  Pieces::iterator smallest(std::size_t bytes) {
    auto best = free_.end();
    for (auto piece = free_.begin(); piece != free_.end(); ++piece)
      if (piece->second >= bytes && (best == free_.end() || piece->second < best->second))
        best = piece;
    return best;
  }
  /// Makes one piece of this and the next if they are neighbours.
  void join_next(Pieces::iterator piece) {
    const auto next = std::next(piece);
    if (next == free_.end() || piece->first + piece->second != next->first) return;
    piece->second += next->second;
    free_.erase(next);
  }

  std::function<void*(std::size_t)> allocate_;
  Pieces free_;
};

/// Memory of a machine. What is given back may be in use by work that is under way: later work
/// waits for that on the device, but not on the host, whose memory is given back when the machine
/// has been waited for and nothing has been started since.
class Workspace {
 public:
  explicit Workspace(Memory memory)
      : device_(std::move(memory.device)), host_(std::move(memory.host)) {}

  /// What will be asked for in all, see `Pool`.
  void expect(const Need& need) {
    device_.expect(need.device);
    host_.expect(need.host);
  }
  void* device(std::size_t bytes) { return device_.take(bytes); }
  void* host(std::size_t bytes) { return host_.take(bytes); }
  void give_back_device(void* memory, std::size_t bytes) { device_.give_back(memory, bytes); }
  void give_back_host(void* memory, std::size_t bytes) { host_.give_back(memory, bytes); }

 private:
  Pool device_, host_;
};

/// Bytes of either memory that are expected beside rows before B has been read: enough for what
/// merging and sweeps keep of neurons in most networks. There is another allocation where it is
/// not: for very many groups of neurons or tensors, and for merged rows that go to the host.
inline std::size_t usual_bytes(std::int64_t neurons) {
  return (std::size_t{1} << 16) + 800 * static_cast<std::size_t>(neurons);
}

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
  /// See `Workspace`.
  template <class Machine>
  void give_back(Machine& machine) const {
    machine.give_back_device(device_, bytes());
    machine.give_back_host(host_, bytes());
  }

 private:
  Region region_;
  void* device_ = nullptr;
  void* host_ = nullptr;
};

}  // namespace pathcond::cuda
