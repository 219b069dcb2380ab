#include "core/parallel.hpp"

#include <unistd.h>

#include <chrono>
#include <utility>

#include "core/can_throw.hpp"

namespace pathcond {
namespace {

thread_local Crew* current = nullptr;

/// A thread that sleeps takes about this long to wake: it stays awake where work may come sooner.
constexpr std::chrono::microseconds kAwake{500};
constexpr int kLooks = 64;  // between two looks at the clock

void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

}  // namespace

Crew::Crew(int threads)
    : outer_(std::exchange(current, this)),
      process_(getpid()),
      spins_(static_cast<unsigned>(threads) <= std::thread::hardware_concurrency()) {
  try {
    errors_.resize(static_cast<std::size_t>(threads));
    undone_.resize(static_cast<std::size_t>(threads));
    threads_.reserve(static_cast<std::size_t>(threads));
    for (int worker = 1; worker < threads; ++worker)
      threads_.emplace_back([this, worker] { serve(worker); });
  } catch (const std::exception&) {  // too little memory, or too many threads
  }
}

Crew::~Crew() {
  current = outer_;
  // There is nobody to wait for, and what stands for them may stand for others by now.
  if (in_child()) new std::vector<std::jthread>(std::move(threads_));
  stopping_ = true;
  ++round_;
  round_.notify_all();
}

Crew* Crew::idle() { return current != nullptr && !current->busy_ ? current : nullptr; }

void Crew::run(int workers, void (*call)(const void*, int), const void* work) {
  errors_.assign(static_cast<std::size_t>(workers), nullptr);
  undone_.assign(static_cast<std::size_t>(workers), 1);
  busy_ = true;
  workers_ = workers;
  call_ = call;
  work_ = work;
  pending_ = in_child() ? 0 : static_cast<unsigned>(threads_.size());
  ++round_;
  round_.notify_all();
  guarded(0);
  while (const unsigned left = pending_) wait_while(pending_, left);
  for (int worker = 1; worker < workers; ++worker)
    if (undone_[static_cast<std::size_t>(worker)]) guarded(worker);
  busy_ = false;
  for (const auto& error : errors_)
    if (error) std::rethrow_exception(error);
}

bool Crew::in_child() const { return getpid() != process_; }

void Crew::serve(int worker) {
  const bool able = can_throw();
  for (unsigned seen = 0;; ++seen) {
    wait_while(round_, seen);
    if (stopping_) return;
    if (able && worker < workers_) guarded(worker);
    if (--pending_ == 0) pending_.notify_one();
  }
}

void Crew::guarded(int worker) noexcept {
  const auto k = static_cast<std::size_t>(worker);
  undone_[k] = 0;
  try {
    call_(work_, worker);
  } catch (...) {
    errors_[k] = std::current_exception();
  }
}

void Crew::wait_while(const std::atomic<unsigned>& value, unsigned old) const {
  if (spins_) {
    const auto end = std::chrono::steady_clock::now() + kAwake;
    do {
      for (int k = 0; k < kLooks; ++k) {
        if (value != old) return;
        relax();
      }
      std::this_thread::yield();
    } while (std::chrono::steady_clock::now() < end);
  }
  value.wait(old);
}

}  // namespace pathcond
