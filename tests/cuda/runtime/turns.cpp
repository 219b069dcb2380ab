// Threads of a block, in turn on one thread of the host: to ThreadSanitizer they are threads that
// nothing but barriers orders. Compiled without the sanitizer.

#include "runtime/turns.hpp"

#include <sanitizer/tsan_interface.h>
#include <ucontext.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <memory>

#include "cuda/lane.hpp"
#include "runtime/cuda_runtime.h"

Index threadIdx, blockIdx;

namespace {

constexpr unsigned kThreads = pathcond::cuda::kThreads, kStack = 1 << 18;

struct Thread {
  ucontext_t context;
  void* known = nullptr;  // to ThreadSanitizer
  std::unique_ptr<char[]> stack;
  std::int64_t barriers = 0;
};

Thread thread[kThreads], host;
const std::function<void()>* work = nullptr;
int block = 0;      // number
unsigned done = 0;  // threads, with the block
char started, ended;
char met[2];  // of every other barrier: the first to pass one may meet the next before the last

void turn(Thread& from, Thread& to) {
  __tsan_switch_to_fiber(to.known, __tsan_switch_to_fiber_no_sync);
  swapcontext(&from.context, &to.context);
}

void turn_after(unsigned k) {
  threadIdx.x = (k + 1) % kThreads;
  turn(thread[k], thread[threadIdx.x]);
}

void live() {
  for (;;) {
    const unsigned k = threadIdx.x;
    const int own = block;
    __tsan_acquire(&started);
    (*work)();
    __tsan_release(&ended);
    ++done;
    while (block == own && done < kThreads) turn_after(k);  // threads may have parted
    if (block == own) turn(thread[k], host);
  }
}

void begin() {
  for (Thread& t : thread) {
    t.stack = std::make_unique<char[]>(kStack);
    t.known = __tsan_create_fiber(0);
    getcontext(&t.context);
    t.context.uc_stack.ss_sp = t.stack.get();
    t.context.uc_stack.ss_size = kStack;
    makecontext(&t.context, &live, 0);
  }
}

}  // namespace

void __syncthreads() {
  const unsigned k = threadIdx.x;
  char* at = &met[thread[k].barriers++ % 2];
  __tsan_release(at);
  turn_after(k);
  __tsan_acquire(at);
}

bool run_block(const std::function<void()>& all) {
  if (!thread[0].known) begin();
  host.known = __tsan_get_current_fiber();
  for (Thread& t : thread) t.barriers = 0;
  work = &all;
  ++block;
  done = 0;
  __tsan_release(&started);
  threadIdx.x = 0;
  turn(host, thread[0]);
  __tsan_acquire(&ended);
  return std::all_of(thread, thread + kThreads,
                     [](const Thread& t) { return t.barriers == thread[0].barriers; });
}
