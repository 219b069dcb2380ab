// Kernels with mistakes that only a device would punish: the two orders in which the host plays a
// device must tell them from a sound one. Prints a line per kernel, its results in either order.

#include <cstdio>
#include <cstdlib>
#include <functional>
#include <numeric>
#include <vector>

#include "cuda/host_machine.hpp"

using namespace pathcond::cuda;

namespace {

constexpr int kNumbers = 2 * kThreads;

struct Shared {
  double number[kNumbers];
};

/// Threads write, and after a barrier read what their neighbours wrote.
struct Sound {
  using Shared = ::Shared;
  double* result;
  template <class Lane>
  void operator()(const Lane& lane, Shared& shared) const {
    lane.for_each(kNumbers, [&](int i) { shared.number[i] = i; });
    lane.for_each(kNumbers, [&](int i) { result[i] = shared.number[(i + 1) % kNumbers]; });
  }
};

/// The same without the barrier.
struct NoBarrier {
  using Shared = ::Shared;
  double* result;
  template <class Lane>
  void operator()(const Lane& lane, Shared& shared) const {
    lane.for_each(kNumbers, [&](int i) { shared.number[i] = 0; });
    lane.for_each(kNumbers, [&](int i) {
      shared.number[i] = i;
      result[i] = shared.number[(i + 1) % kNumbers];
    });
  }
};

/// Two threads write to one place.
struct SamePlace {
  using Shared = ::Shared;
  double* result;
  template <class Lane>
  void operator()(const Lane& lane, Shared&) const {
    lane.for_each(kNumbers, [&](int i) { result[i / 2] = i; });
  }
};

/// A block reads what another block of the same launch writes.
struct OtherBlock {
  using Shared = ::Shared;
  double* result;
  template <class Lane>
  void operator()(const Lane& lane, Shared&) const {
    const auto block = static_cast<int>(lane.block());
    lane.for_each(1, [&](int) { result[block] = block + result[(block + 1) % 4]; });
  }
};

/// A thread reads what it has yet to write, which a device may have read before.
struct ReadAhead {
  using Shared = ::Shared;
  double* result;
  template <class Lane>
  void operator()(const Lane& lane, Shared&) const {
    if (lane.block() != 0) return;
    lane.for_each_read(
        kNumbers, [&](int i) { return i < kThreads ? 1.0 : result[i - kThreads]; },
        [&](int i, double value) { result[i] = value + 1; });
  }
};

template <class Kernel>
void report(const char* name) {
  std::printf("%s", name);
  for (const bool descending : {false, true}) {
    std::vector<double> result(kNumbers, 0.0);
    const auto none = [](std::size_t) -> void* { return nullptr; };
    HostMachine machine({none, none}, descending);
    machine.launch(4, Kernel{result.data()});
    double sum = 0;
    for (int i = 0; i < kNumbers; ++i) sum += (i + 1) * result[i];
    std::printf(" %.17g", sum);
  }
  std::printf("\n");
}

}  // namespace

int main() {
  report<Sound>("sound");
  report<NoBarrier>("no_barrier");
  report<SamePlace>("same_place");
  report<OtherBlock>("other_block");
  report<ReadAhead>("read_ahead");
}
