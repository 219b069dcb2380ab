#pragma once

#include <cstdint>
#include <vector>

#include "cuda/collapse_plan.hpp"
#include "cuda/join_seen.hpp"
#include "cuda/memory.hpp"

namespace pathcond::cuda {

/// Launches tasks that have their tiles numbered; `tasks` is their copy on the device.
template <class Read, class Machine, class T>
void launch(Machine& machine, const Collapse<T>* tasks, std::size_t count, std::int64_t tiles,
            Seen* seen) {
  if (tiles > 0)
    machine.launch(tiles, CollapseKernel<T, Read>{tasks, static_cast<int>(count), seen});
}

/// Many sums over axes of arrays on the device, in two launches: the pieces of long sums are added
/// up in the second. Results come to the host unless they are told to stay, and are there once the
/// machine has been waited for.
template <class Machine, class T, class Read>
class Sums {
 public:
  explicit Sums(Machine& machine) : machine_(machine) {}

  /// Returns the number of the sum. `to` null: the result is read with `result`.
  std::size_t add(const T* from, const PanelAxes& axes, double* to = nullptr, bool on_top = false) {
    Collapse<T> task = plan<T>(axes);
    task.from = from;
    Job job{to, on_top, task.outputs, task.pieces, {}, {}};
    if (!to) job.result = down_.reserve<double>(task.outputs);
    if (task.pieces > 1) job.parts = inside_.reserve<double>(task.pieces * task.outputs);
    jobs_.push_back(job);
    first_.push_back(task);
    return jobs_.size() - 1;
  }

  void start() {
    if (jobs_.empty()) return;
    const std::int64_t tiles = number_tiles(first_);
    std::vector<Collapse<double>> second;
    for (const Job& job : jobs_)
      if (job.pieces > 1) second.push_back(plan_pieces(job.outputs, job.pieces, Cut::never));
    const std::int64_t second_tiles = number_tiles(second);
    Mirrored up;
    const auto first_slot = up.reserve<Collapse<T>>(std::ssize(first_));
    const auto second_slot = up.reserve<Collapse<double>>(std::ssize(second));
    seen_ = down_.reserve<Seen>(std::ssize(first_));
    const auto tile_slot = inside_.reserve<Seen>(tiles);
    auto* device =
        static_cast<unsigned char*>(machine_.device(up.bytes() + down_.bytes() + inside_.bytes()));
    auto* host = static_cast<unsigned char*>(machine_.host(up.bytes() + down_.bytes()));
    up.place(device, host);
    down_.place(device + up.bytes(), host + up.bytes());
    void* inside = device + up.bytes() + down_.bytes();

    auto next = second.begin();
    for (std::size_t k = 0; k < jobs_.size(); ++k) {
      const Job& job = jobs_[k];
      double* to = job.to ? job.to : down_.device(job.result);
      if (job.pieces == 1) {
        first_[k].to = to;
        first_[k].add = job.on_top;
        continue;
      }
      first_[k].to = at(inside, job.parts);
      next->from = first_[k].to;
      next->to = to;
      next->add = job.on_top;
      ++next;
    }
    std::copy(first_.begin(), first_.end(), up.host(first_slot));
    std::copy(second.begin(), second.end(), up.host(second_slot));
    up.upload(machine_);
    Seen* of_tiles = at(inside, tile_slot);
    launch<Read>(machine_, up.device(first_slot), first_.size(), tiles, of_tiles);
    launch<Add>(machine_, up.device(second_slot), second.size(), second_tiles, nullptr);
    machine_.launch(std::ssize(first_), JoinSeenKernel<Collapse<T>>{up.device(first_slot), of_tiles,
                                                                    down_.device(seen_)});
    down_.download(machine_);
  }
  void run() {
    start();
    machine_.wait();
  }

  const double* result(std::size_t sum) const { return down_.host(jobs_[sum].result); }
  /// What the entries of a sum looked like.
  Look look(std::size_t sum) const { return down_.host(seen_)[sum].look(); }

 private:
  struct Job {
    double* to;
    bool on_top;
    std::int64_t outputs, pieces;
    Slot<double> result, parts;
  };

  Machine& machine_;
  std::vector<Job> jobs_;
  std::vector<Collapse<T>> first_;
  Mirrored down_;
  Region inside_;
  Slot<Seen> seen_;
};

}  // namespace pathcond::cuda
