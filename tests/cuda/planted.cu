// Kernels with mistakes that compute-sanitizer reports, launched as all kernels are. The argument
// names what runs. The exit status is 0 either way: the sanitizer replaces no other by its own.

#include <cstdio>
#include <functional>
#include <map>
#include <string_view>

#include "cuda/device_machine.cuh"

using namespace pathcond::cuda;

namespace {

struct Shared {
  double number[kThreads];
};

/// Threads write, and after a barrier read what a thread of another warp has written.
struct Sound {
  using Shared = ::Shared;
  double* result;
  template <class Lane>
  PATHCOND_KERNEL void operator()(const Lane& lane, Shared& shared) const {
    lane.for_each(kThreads, [&](int i) { shared.number[i] = i; });
    lane.for_each(kThreads,
                  [&](int i) { result[i] = shared.number[(i + kThreads / 2) % kThreads]; });
  }
};

/// The same without the barrier.
struct Race {
  using Shared = ::Shared;
  double* result;
  template <class Lane>
  PATHCOND_KERNEL void operator()(const Lane& lane, Shared& shared) const {
    lane.for_each(kThreads, [&](int i) {
      shared.number[i] = i;
      result[i] = shared.number[(i + kThreads / 2) % kThreads];
    });
  }
};

/// A write behind the last number.
struct Beyond {
  using Shared = ::Shared;
  double* result;
  template <class Lane>
  PATHCOND_KERNEL void operator()(const Lane& lane, Shared&) const {
    lane.for_each(kThreads + 1, [&](int i) { result[i] = i; });
  }
};

/// Every other thread meets a barrier more.
struct Parting {
  using Shared = ::Shared;
  double* result;
  template <class Lane>
  PATHCOND_KERNEL void operator()(const Lane& lane, Shared&) const {
    bool odd = false;
    lane.for_each(kThreads, [&](int i) { odd = i % 2 == 1; });
    if (odd) lane.for_each(kThreads, [&](int i) { result[i] = 1; });
    lane.for_each(kThreads, [&](int i) { result[i] = i; });
  }
};

template <class Kernel>
void run() {
  const auto allocate = [](std::size_t bytes) {
    void* memory = nullptr;
    check(cudaMalloc(&memory, bytes), "allocating");
    return memory;
  };
  DeviceMachine machine({allocate, allocate}, nullptr);
  // Not from the machine, whose pieces are larger than what is asked for.
  machine.launch(1, Kernel{static_cast<double*>(allocate(sizeof(Shared)))});
  machine.wait();
}

}  // namespace

int main(int, char** arguments) {
  const std::map<std::string_view, std::function<void()>> kernels{
      {"sound", run<Sound>},
      {"race", run<Race>},
      {"beyond", run<Beyond>},
      {"parting", run<Parting>},
  };
  const auto& kernel = kernels.at(arguments[1]);
  try {
    kernel();
  } catch (const DeviceError& error) {
    std::puts(error.what());  // the sanitizer has ended what it reports
  }
}
