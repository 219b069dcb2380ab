// Kernels and calls with mistakes that only a device would punish: the two ways in which the host
// plays a device must tell them from sound ones. Prints a line per mistake, its results either way.

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

/// run(machine, result) fills kNumbers.
template <class Run>
void report(const char* name, const Run& run) {
  std::printf("%s", name);
  for (const bool late : {false, true}) {
    std::vector<double> result(kNumbers, 0.0);
    const auto none = [](std::size_t) -> void* { return nullptr; };
    HostMachine machine({none, none}, late);
    run(machine, result.data());
    double sum = 0;
    for (int i = 0; i < kNumbers; ++i) sum += (i + 1) * result[i];
    std::printf(" %.17g", sum);
    machine.wait();  // what is under way uses the numbers
  }
  std::printf("\n");
}

template <class Kernel>
void report(const char* name) {
  report(name, [](HostMachine& machine, double* result) {
    machine.launch(4, Kernel{result});
    machine.wait();
  });
}

/// Numbers there and back; what `between` and `after` do, with their source and its copy.
template <class Between, class After>
void report_copies(const char* name, const Between& between, const After& after) {
  report(name, [&](HostMachine& machine, double* result) {
    static double there[kNumbers];  // on the device
    static double source[kNumbers];
    std::iota(source, source + kNumbers, 0.0);
    machine.upload(there, source, sizeof(source));
    between(machine, source);
    machine.download(result, there, sizeof(source));
    after(machine, source);
  });
}

}  // namespace

int main() {
  report<Sound>("sound");
  report<NoBarrier>("no_barrier");
  report<SamePlace>("same_place");
  report<OtherBlock>("other_block");
  report<ReadAhead>("read_ahead");
  const auto nothing = [](HostMachine&, double*) {};
  const auto wait = [](HostMachine& machine, double*) { machine.wait(); };
  const auto change = [](HostMachine&, double* source) { source[1] = 7; };
  report_copies("sound_copies", nothing, wait);
  report_copies("read_too_soon", nothing, nothing);
  report_copies("written_too_soon", change, wait);
}
