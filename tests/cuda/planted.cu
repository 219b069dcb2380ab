// Kernels with bugs that compute-sanitizer has to report, launched as all others: `planted NAME`.

#include <string_view>

#include "cuda/device_machine.cuh"

using namespace pathcond::cuda;

namespace {

/// Threads write, and read what their neighbours wrote, with or without a barrier between.
template <bool barrier>
struct Neighbours {
  struct Shared {
    int number[kThreads];
  };
  int* result;
  template <class Lane>
  __device__ void operator()(const Lane& lane, Shared& shared) const {
    const auto write = [&](int i) { shared.number[i] = i; };
    const auto read = [&](int i) { result[i] = shared.number[(i + 32) % kThreads]; };
    if constexpr (barrier) {
      lane.for_each(kThreads, write);
      lane.for_each(kThreads, read);
    } else {
      lane.for_each(kThreads, [&](int i) {
        write(i);
        read(i);
      });
    }
  }
};

/// Threads write beyond an array.
struct Beyond {
  struct Shared {};
  int* result;
  template <class Lane>
  __device__ void operator()(const Lane& lane, Shared&) const {
    lane.for_each(kThreads, [&](int i) { result[i + 1] = i; });
  }
};

}  // namespace

int main(int, char** arguments) {
  const std::string_view name = arguments[1];
  const auto none = [](std::size_t) -> void* { return nullptr; };
  void* result = nullptr;
  check(cudaMalloc(&result, kThreads * sizeof(int)), "allocating");
  {
    DeviceMachine machine({none, none}, nullptr);
    int* const to = static_cast<int*>(result);
    if (name == "sound") machine.launch(1, Neighbours<true>{to});
    if (name == "racecheck") machine.launch(1, Neighbours<false>{to});
    if (name == "memcheck") machine.launch(1, Beyond{to});
  }
  cudaFree(result);
}
