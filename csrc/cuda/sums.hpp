#pragma once

#include <cstdint>
#include <optional>
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

  /// Returns the number of the sum. Without `to` the result is read with `result`.
  std::size_t add(const T* from, const PanelAxes& axes, std::optional<Slot<double>> to = {},
                  bool on_top = false) {
    Collapse<T> task = plan<T>(axes);
    task.from = from;
    Job job{to, on_top, task.outputs, task.pieces, {}, {}};
    if (!to) job.result = down_.reserve<double>(task.outputs);
    if (task.pieces > 1) {
      job.parts = inside_.reserve<double>(task.pieces * task.outputs);
      second_.push_back(plan_pieces(task.outputs, task.pieces, Cut::never));
    }
    jobs_.push_back(job);
    first_.push_back(task);
    return jobs_.size() - 1;
  }

  /// For a sum that was added before there was memory for what it reads.
  void read_from(std::size_t sum, const T* from) { first_[sum].from = from; }

  /// After the last sum has been added: the memory that they need.
  Need close() {
    if (jobs_.empty()) return {};
    first_slot_ = up_.reserve<Collapse<T>>(std::ssize(first_));
    second_slot_ = up_.reserve<Collapse<double>>(std::ssize(second_));
    seen_ = down_.reserve<Seen>(std::ssize(first_));
    tile_slot_ = inside_.reserve<Seen>(number_tiles(first_));
    const std::size_t both = up_.bytes() + down_.bytes();
    return {both + inside_.bytes(), both};
  }

  /// Once closed. `memory`: what sums that are told where to go are told about.
  void start(void* memory) {
    if (jobs_.empty()) return;
    auto* device =
        static_cast<unsigned char*>(machine_.device(up_.bytes() + down_.bytes() + inside_.bytes()));
    auto* host = static_cast<unsigned char*>(machine_.host(up_.bytes() + down_.bytes()));
    up_.place(device, host);
    down_.place(device + up_.bytes(), host + up_.bytes());
    inside_memory_ = device + up_.bytes() + down_.bytes();

    auto next = second_.begin();
    for (std::size_t k = 0; k < jobs_.size(); ++k) {
      const Job& job = jobs_[k];
      double* to = job.to ? at(memory, *job.to) : down_.device(job.result);
      if (job.pieces == 1) {
        first_[k].to = to;
        first_[k].add = job.on_top;
        continue;
      }
      first_[k].to = at(inside_memory_, job.parts);
      next->from = first_[k].to;
      next->to = to;
      next->add = job.on_top;
      ++next;
    }
    const std::int64_t tiles = number_tiles(first_), second_tiles = number_tiles(second_);
    std::copy(first_.begin(), first_.end(), up_.host(first_slot_));
    std::copy(second_.begin(), second_.end(), up_.host(second_slot_));
    up_.upload(machine_);
    Seen* of_tiles = at(inside_memory_, tile_slot_);
    launch<Read>(machine_, up_.device(first_slot_), first_.size(), tiles, of_tiles);
    launch<Add>(machine_, up_.device(second_slot_), second_.size(), second_tiles, nullptr);
    machine_.launch(std::ssize(first_), JoinSeenKernel<Collapse<T>>{up_.device(first_slot_),
                                                                    of_tiles, down_.device(seen_)});
    down_.download(machine_);
  }
  void run() {
    close();
    start(nullptr);
    machine_.wait();
  }

  /// Results with it.
  void give_back() {
    up_.give_back(machine_);
    down_.give_back(machine_);
    machine_.give_back_device(inside_memory_, inside_.bytes());
  }

  const double* result(std::size_t sum) const { return down_.host(jobs_[sum].result); }
  /// What the entries of a sum looked like.
  Look look(std::size_t sum) const { return down_.host(seen_)[sum].look(); }

 private:
  struct Job {
    std::optional<Slot<double>> to;
    bool on_top;
    std::int64_t outputs, pieces;
    Slot<double> result, parts;
  };

  Machine& machine_;
  std::vector<Job> jobs_;
  std::vector<Collapse<T>> first_;
  std::vector<Collapse<double>> second_;  ///< of those with pieces
  Mirrored up_, down_;
  Region inside_;
  void* inside_memory_ = nullptr;
  Slot<Collapse<T>> first_slot_;
  Slot<Collapse<double>> second_slot_;
  Slot<Seen> seen_, tile_slot_;
};

}  // namespace pathcond::cuda
