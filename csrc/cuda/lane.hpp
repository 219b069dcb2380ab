#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <type_traits>
#include <vector>

#include "core/host_device.hpp"

/// What kernel bodies are written against: one block of threads, in steps that end with a barrier.
/// The same bodies are compiled for a device (`device_lane.cuh`) and for the host, where a block is
/// a plain loop. Nothing but whole numbers is added to by more than one thread, and every other
/// order of addition is fixed by sizes alone: results depend neither on the schedule nor on the
/// machine.
namespace pathcond::cuda {

#ifndef PATHCOND_THREADS_OF_A_BLOCK
#define PATHCOND_THREADS_OF_A_BLOCK 256
#endif
inline constexpr int kThreads = PATHCOND_THREADS_OF_A_BLOCK;  ///< of a block

/// A block of threads on the host. Within a step one thread after the other does all its work. To
/// show that no thread waits for another nor needs what it has read to be the latest, they can also
/// go in descending order, all reads before all that is done with them.
class HostLane {
 public:
  HostLane(std::int64_t block, bool descending) : block_(block), descending_(descending) {}

  std::int64_t block() const { return block_; }

  /// Adds a whole number, modulo 2^64, where any thread of any block may add.
  static void add(std::uint64_t& to, std::uint64_t number) { to += number; }

  /// f(i) for 0 <= i < n, then a barrier.
  template <class Work>
  void for_each(int n, const Work& f) const {
    for (int k = 0; k < kThreads; ++k)
      for (int i = thread(k); i < n; i += kThreads) f(i);
  }

  /// use(i, read(i)) for 0 <= i < n, then a barrier; a thread may read ahead of what it uses.
  template <class Read, class Use>
  void for_each_read(int n, const Read& read, const Use& use) const {
    const auto value = read_ahead(n, read);
    for_each(n, [&](int i) { use(i, descending_ ? value[i] : read(i)); });
  }

  /// use(i, read(i), part) for 0 <= i < n, every thread with a part of its own that begins as
  /// `empty`; the parts joined as a tree, for all threads to have. Barriers before and after.
  template <class Part, class Read, class Use>
  Part fold(int n, const Part& empty, const Read& read, const Use& use) const {
    const auto value = read_ahead(n, read);
    return fold_threads(empty, [&](int t, Part& part) {
      for (int i = t; i < n; i += kThreads) use(i, descending_ ? value[i] : read(i), part);
    });
  }

  /// work(t, part) for every thread t, otherwise as `fold`.
  template <class Part, class Work>
  Part fold_threads(const Part& empty, const Work& work) const {
    Part parts[kThreads];
    for (int k = 0; k < kThreads; ++k) {
      Part part = empty;
      work(thread(k), part);
      parts[thread(k)] = part;
    }
    for (int half = kThreads / 2; half > 0; half /= 2)
      for (int t = 0; t < half; ++t) parts[t].join(parts[t + half]);
    return parts[0];
  }

 private:
  template <class Read>
  auto read_ahead(int n, const Read& read) const {
    std::vector<std::decay_t<decltype(read(0))>> value;
    if (!descending_) return value;
    value.resize(static_cast<std::size_t>(n));
    for_each(n, [&](int i) { value[static_cast<std::size_t>(i)] = read(i); });
    return value;
  }
  int thread(int k) const { return descending_ ? kThreads - 1 - k : k; }

  std::int64_t block_;
  bool descending_;
};

/// How many of `size` entries the tile of this number has, each tile but the last having `tile`.
PATHCOND_KERNEL inline int entries_of_tile(std::int64_t number, int tile, std::int64_t size) {
  const std::int64_t left = size - number * tile;
  return left < tile ? static_cast<int>(left) : tile;
}

inline std::int64_t tiles_of(std::int64_t size, int tile) { return (size + tile - 1) / tile; }

/// The first of the entries that threads report.
struct Earliest {
  int entry = std::numeric_limits<int>::max();

  PATHCOND_KERNEL void see(int other) { entry = other < entry ? other : entry; }
  PATHCOND_HOST_DEVICE void join(const Earliest& other) {
    entry = other.entry < entry ? other.entry : entry;
  }
};

/// sums[0][t] becomes the sum of sums[0][k] over k <= t, for every thread t.
template <class Lane, class T>
PATHCOND_KERNEL void running_sums(const Lane& lane, T (&sums)[2][kThreads]) {
  int from = 0;
  for (int step = 1; step < kThreads; step *= 2, from = 1 - from)
    lane.for_each(kThreads, [&](int t) {
      sums[1 - from][t] = static_cast<T>(sums[from][t] + (t < step ? T{} : sums[from][t - step]));
    });
  static_assert(kThreads == 1 << 8 || kThreads == 1 << 6,
                "after an even number of steps they are where they were");
}

}  // namespace pathcond::cuda
