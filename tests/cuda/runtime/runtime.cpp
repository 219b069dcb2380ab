// See `cuda_runtime.h`. A stream of device d is one whose address is d modulo 16.

#include "runtime/runtime.hpp"

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

#include "cuda/lane.hpp"
#include "cuda_runtime.h"
#include "runtime/turns.hpp"

namespace {

struct Launch {
  std::function<void()> thread;
  unsigned blocks;
};

/// Whether the threads of every block have met the same barriers.
bool run(const Launch& launch) {
  bool together = true;
  for (unsigned block = 0; block < launch.blocks; ++block) {
    blockIdx.x = block;
    together &= run_block(launch.thread);
  }
  return together;
}

std::recursive_mutex mutex;
long calls = 0, failing = 0, graphs = 0, graph_launches = 0;
bool fails_for_good = false;
int devices = 1, current = 0;
cudaError_t last = cudaSuccess;
std::map<void*, Bound> kernels;  ///< those that have been launched
std::map<cudaStream_t, std::vector<std::function<bool()>>> under_way;

cudaError_t remember(cudaError_t error) {
  if (error != cudaSuccess) last = error;
  return error;
}

/// A call to the runtime: what it does unless it is to fail.
template <class Work>
cudaError_t call(const Work& work) {
  const std::lock_guard lock(mutex);
  ++calls;
  const bool fails = failing > 0 && (fails_for_good ? calls >= failing : calls == failing);
  return remember(fails ? cudaErrorUnknown : work());
}

/// A call that needs the stream's device to be the current one.
cudaError_t start(cudaStream_t stream, std::function<bool()> work) {
  if (static_cast<int>(reinterpret_cast<std::uintptr_t>(stream) % 16) != current)
    return cudaErrorInvalidResourceHandle;
  under_way[stream].push_back(std::move(work));
  return cudaSuccess;
}

cudaError_t bound(Launch& launch, Bound bind, dim3 blocks, dim3 threads, void** arguments) {
  if (blocks.x == 0 || threads.x != pathcond::cuda::kThreads) return cudaErrorInvalidValue;
  launch = {bind(arguments), blocks.x};
  return cudaSuccess;
}

}  // namespace

struct CUgraphNode_st {
  Launch launch;
  std::vector<cudaGraphNode_t> after;
};
struct CUgraph_st {
  std::deque<CUgraphNode_st> nodes;
};
struct CUgraphExec_st {
  std::vector<Launch> launches;
};

cudaError_t launch_bound(void* function, Bound bind, dim3 blocks, dim3 threads, void** arguments,
                         cudaStream_t stream) {
  return call([&] {
    kernels[function] = bind;
    Launch launch;
    if (const auto error = bound(launch, bind, blocks, threads, arguments)) return error;
    return start(stream, [launch = std::move(launch)] { return run(launch); });
  });
}

cudaError_t cudaGetLastError() { return std::exchange(last, cudaSuccess); }
const char* cudaGetErrorString(cudaError_t error) {
  static char text[40];
  std::snprintf(text, sizeof(text), "error %d of the stand-in", static_cast<int>(error));
  return text;
}

cudaError_t cudaDriverGetVersion(int* version) {
  return call([=] {
    *version = CUDART_VERSION;
    return cudaSuccess;
  });
}
cudaError_t cudaGetDeviceCount(int* count) {
  return call([=] {
    *count = devices;
    return cudaSuccess;
  });
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  return call([=] {
    if (device < 0 || device >= devices) return cudaErrorInvalidDevice;
    *properties = {"the host", 8, 0};
    return cudaSuccess;
  });
}
cudaError_t cudaGetDevice(int* device) {
  return call([=] {
    *device = current;
    return cudaSuccess;
  });
}
cudaError_t cudaSetDevice(int device) {
  return call([=] {
    if (device < 0 || device >= devices) return cudaErrorInvalidDevice;
    current = device;
    return cudaSuccess;
  });
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind,
                            cudaStream_t stream) {
  return call([=] {
    if (!to || !from) return cudaErrorInvalidValue;
    return start(stream, [=] {
      std::memcpy(to, from, bytes);
      return true;
    });
  });
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  const std::lock_guard lock(mutex);
  const auto queue = std::exchange(under_way[stream], {});
  return call([&] {
    bool together = true;
    for (const auto& work : queue) together &= work();
    return together ? cudaSuccess : cudaErrorLaunchFailure;
  });
}

cudaError_t cudaGraphCreate(cudaGraph_t* graph, unsigned) {
  return call([=] {
    *graph = new CUgraph_st;
    ++graphs;
    return cudaSuccess;
  });
}
cudaError_t cudaGraphAddKernelNode(cudaGraphNode_t* node, cudaGraph_t graph,
                                   const cudaGraphNode_t* after, std::size_t count,
                                   const cudaKernelNodeParams* kernel) {
  return call([=] {
    const auto known = kernels.find(kernel->func);
    if (known == kernels.end()) return cudaErrorInvalidValue;
    CUgraphNode_st added;
    if (const auto error = bound(added.launch, known->second, kernel->gridDim, kernel->blockDim,
                                 kernel->kernelParams))
      return error;
    added.after.assign(after, after + count);
    *node = &graph->nodes.emplace_back(std::move(added));
    return cudaSuccess;
  });
}
/// Of nodes that may come next, the last added comes first: only what is said orders them.
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* ready, cudaGraph_t graph, unsigned long long) {
  return call([=] {
    *ready = new CUgraphExec_st;
    ++graphs;
    std::map<const CUgraphNode_st*, bool> done;
    while (done.size() < graph->nodes.size())
      for (auto node = graph->nodes.rbegin(); node != graph->nodes.rend(); ++node) {
        bool next = !done.contains(&*node);
        for (const auto before : node->after) next &= done.contains(before);
        if (!next) continue;
        (*ready)->launches.push_back(node->launch);
        done[&*node] = true;
        break;
      }
    return cudaSuccess;
  });
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t ready, cudaStream_t stream) {
  return call([=] {
    ++graph_launches;
    return start(stream, [=] {
      bool together = true;
      for (const Launch& launch : ready->launches) together &= run(launch);
      return together;
    });
  });
}
/// What is destroyed is gone, whatever is said.
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t ready) {
  const std::lock_guard lock(mutex);
  delete ready;
  --graphs;
  return call([] { return cudaSuccess; });
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  const std::lock_guard lock(mutex);
  delete graph;
  --graphs;
  return call([] { return cudaSuccess; });
}

#pragma GCC visibility push(default)
extern "C" {

void runtime_fail(long call, bool for_good) {
  calls = 0;
  failing = call;
  fails_for_good = for_good;
}
long runtime_calls() { return calls; }
long runtime_under_way() {
  long all = 0;
  for (const auto& [stream, work] : under_way) all += static_cast<long>(work.size());
  return all;
}
long runtime_graphs() { return graphs; }
long runtime_graph_launches() { return graph_launches; }
void runtime_devices(int count, int now) {
  devices = count;
  current = now;
}
int runtime_current_device() { return current; }
}
#pragma GCC visibility pop
