#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>
#include <thread>
#include <vector>

namespace pathcond {

#ifndef PATHCOND_ENTRIES_PER_WORKER
#define PATHCOND_ENTRIES_PER_WORKER (1 << 18)
#endif

/// Entries of B below which a thread costs more than it saves.
inline constexpr std::int64_t kEntriesPerWorker = PATHCOND_ENTRIES_PER_WORKER;

/// Threads that so many entries are worth, at most `threads`.
inline int workers_for(std::int64_t entries, int threads) {
  return static_cast<int>(std::clamp<std::int64_t>(entries / kEntriesPerWorker, 1, threads));
}

/// The threads of one call of the library: while one of these lives, `run_workers` on the thread
/// that made it uses them. A fork is safe before, after, and, in a callback, meanwhile: the child
/// goes on without the others.
class Crew {
 public:
  /// `threads`, the calling one included; as many of them as can be had.
  explicit Crew(int threads);
  ~Crew();
  Crew(const Crew&) = delete;
  Crew& operator=(const Crew&) = delete;

  /// Of the calling thread; nullptr if there is none, or it is at work.
  static Crew* idle();

  /// Calls call(work, 0) on the calling thread, call(work, 1) ... on others.
  void run(int workers, void (*call)(const void*, int), const void* work);

 private:
  bool in_child() const;
  void serve(int worker);
  void guarded(int worker) noexcept;
  void wait_while(const std::atomic<unsigned>& value, unsigned old) const;

  Crew* outer_;  ///< of the call during which, in a signal handler or a callback, this one began
  std::int64_t process_;
  bool spins_, busy_ = false, stopping_ = false;
  int workers_ = 0;
  void (*call_)(const void*, int) = nullptr;
  const void* work_ = nullptr;
  std::vector<std::exception_ptr> errors_;
  std::vector<char> undone_;
  std::atomic<unsigned> round_ = 0, pending_ = 0;
  std::vector<std::jthread> threads_;
};

/// Runs work(0) ... work(workers - 1), the first on the calling thread. What no thread could be had
/// for is done there too. The first exception is rethrown.
template <class Work>
void run_workers(int workers, const Work& work) {
  if (workers <= 1) return work(0);
  const auto call = [](const void* of, int worker) { (*static_cast<const Work*>(of))(worker); };
  if (Crew* crew = Crew::idle()) return crew->run(workers, call, &work);
  Crew(workers).run(workers, call, &work);
}

/// Columns split into `parts` contiguous ranges of about equal numbers of entries.
template <class Index>
std::vector<std::int64_t> split_columns(const Index* indptr, std::int64_t columns, int parts) {
  std::vector<std::int64_t> bounds(static_cast<std::size_t>(parts) + 1, columns);
  bounds[0] = 0;
  for (int part = 1; part < parts; ++part) {
    const auto target = static_cast<Index>(indptr[columns] / parts * part);
    bounds[static_cast<std::size_t>(part)] =
        std::max<std::int64_t>(bounds[static_cast<std::size_t>(part) - 1],
                               std::lower_bound(indptr, indptr + columns, target) - indptr);
  }
  return bounds;
}

}  // namespace pathcond
