#pragma once

#include <algorithm>
#include <cstdint>
#include <exception>
#include <thread>
#include <vector>

#include "core/can_throw.hpp"

namespace pathcond {

#ifndef PATHCOND_ENTRIES_PER_WORKER
#define PATHCOND_ENTRIES_PER_WORKER (1 << 18)
#endif

/// Entries of B below which a thread costs more than it saves.
inline constexpr std::int64_t kEntriesPerWorker = PATHCOND_ENTRIES_PER_WORKER;

/// Runs work(0) ... work(workers - 1), the first on the calling thread. The threads live for this
/// call only, so a fork before or after is safe. What no thread could be had for is done on the
/// calling one. The first exception is rethrown.
template <class Work>
void run_workers(int workers, const Work& work) {
  std::vector<std::exception_ptr> errors(static_cast<std::size_t>(workers));
  std::vector<char> undone(static_cast<std::size_t>(workers), 0);
  const auto guarded = [&](int worker) noexcept {
    try {
      work(worker);
    } catch (...) {
      errors[static_cast<std::size_t>(worker)] = std::current_exception();
    }
  };
  {
    std::vector<std::jthread> threads;
    threads.reserve(static_cast<std::size_t>(workers));
    for (int worker = 1; worker < workers; ++worker) {
      try {
        threads.emplace_back([&, worker] {
          if (can_throw()) {
            guarded(worker);
          } else {
            undone[static_cast<std::size_t>(worker)] = 1;
          }
        });
      } catch (const std::exception&) {  // too little memory, or too many threads
        undone[static_cast<std::size_t>(worker)] = 1;
      }
    }
    guarded(0);
  }
  for (int worker = 1; worker < workers; ++worker)
    if (undone[static_cast<std::size_t>(worker)]) guarded(worker);
  for (const auto& error : errors)
    if (error) std::rethrow_exception(error);
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
