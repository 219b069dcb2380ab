#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "core/box.hpp"
#include "core/monitor.hpp"
#include "core/sweep_plan.hpp"
#include "cuda/half_sums.hpp"
#include "cuda/memory.hpp"
#include "cuda/pass.hpp"
#include "cuda/sums.hpp"
#include "cuda/sweep_steps.hpp"

namespace pathcond::cuda {

/// A sweep of which the host sees the beginning and the end: what it starts from goes to the device
/// in one copy, the launches of all steps follow each other there, and where they lead comes back
/// in one copy.
///
/// What follows a sweep is left to the host. The coarse step needs one number per group and link,
/// of what has come back anyway, since the host decides whether to go on. Then it is a chain: every
/// pivot waits for the one before, every Newton step for the comparison of the last. One core takes
/// 23 us for a chain of 54 groups with skips; on a device each link of the chain would be a barrier
/// at least. The same holds for `cd` where neighbours follow each other: a step of one neuron reads
/// little and waits for all before it.
template <class Machine, class G>
class DeviceSweeper final : public Sweeper {
 public:
  /// All outlive this. `parts`: memory for the parts of all half-sums, see `part_count`.
  DeviceSweeper(Machine& machine, const std::vector<Matrix<G>>& matrices, double* parts,
                const BlockProblem& problem, SweepPlan plan, const Box& box, Monitor& monitor)
      : machine_(machine),
        matrices_(matrices),
        problem_(problem),
        plan_(std::move(plan)),
        monitor_(monitor),
        recording_(machine) {
    lay_out();
    place_half_sums();
    record(parts, box);
  }

  /// Bytes on the device, and fewer on the host, for steps that want so many half-sums.
  static std::size_t bytes_for(std::int64_t wanted, std::int64_t matrices, std::int64_t neurons,
                               std::int64_t half_sums) {
    return static_cast<std::size_t>(wanted) * (sizeof(Item) + sizeof(Collapse<double>)) +
           static_cast<std::size_t>(matrices) * (sizeof(Matrix<G>) + 6 * sizeof(std::int64_t)) +
           static_cast<std::size_t>(11 * neurons + half_sums) * sizeof(double) + 32 * kAlignment;
  }

  const SweepPlan& plan() const override { return plan_; }

  std::size_t sweep(SweepPoint& point) override {
    put(matrices_, matrix_);
    put(problem_.leave_only, leave_only_);
    put(problem_.enter_only, enter_only_);
    put(point.u, u_);
    put(point.x, x_);
    put(point.y, y_);
    for (std::size_t id = 0; id < half_at_.size(); ++id) {
      std::copy(point.half[id].left.begin(), point.half[id].left.end(), half_sum(id).left);
      std::copy(point.half[id].right.begin(), point.half[id].right.end(), half_sum(id).right);
    }
    *state_.host(progress_) = {point.total, 0, 0, 0};
    state_.upload(machine_);
    recording_.run();
    machine_.download(state_.host(u_), state_.device(u_), state_.bytes() - u_.offset);
    machine_.wait();
    take(u_, point.u);
    take(x_, point.x);
    take(y_, point.y);
    for (std::size_t id = 0; id < half_at_.size(); ++id) {
      std::copy_n(half_sum(id).left, point.half[id].left.size(), point.half[id].left.begin());
      std::copy_n(half_sum(id).right, point.half[id].right.size(), point.half[id].right.begin());
    }
    const SweepProgress& progress = *state_.host(progress_);
    point.total = progress.total;
    point.gradient_norm = progress.gradient_norm;
    point.change = progress.change;
    monitor_.advance(work_);
    return static_cast<std::size_t>(progress.steps);
  }

 private:
  struct Place {
    std::int64_t left, right;  ///< in the half-sums
  };
  struct Halves {
    double *left, *right;
  };

  void lay_out() {
    const auto H = std::ssize(problem_.order), groups = std::int64_t{problem_.groups()};
    std::int64_t wanted = 0, longest = 0;
    for (const auto& step : plan_.steps) {
      wanted += std::ssize(step.wanted);
      longest = std::max<std::int64_t>(longest, step.last - step.first);
      for (const Wanted& w : step.wanted) work_ += problem_.blocks[w.block].stored();
    }
    for (const Block& block : problem_.blocks) {
      half_at_.push_back({halves_, halves_ + block.rows});
      halves_ += block.rows + block.columns;
    }
    items_ = tables_.reserve<Item>(wanted);
    tasks_ = tables_.reserve<Collapse<double>>(wanted);
    neurons_ = tables_.reserve<std::int32_t>(std::ssize(plan_.neurons));
    group_ = tables_.reserve<std::int32_t>(H);
    out_ptr_ = tables_.reserve<std::int32_t>(groups + 1);
    in_ptr_ = tables_.reserve<std::int32_t>(groups + 1);
    out_ = tables_.reserve<std::int64_t>(std::ssize(problem_.blocks));
    in_ = tables_.reserve<std::int64_t>(std::ssize(problem_.blocks));
    degree_ = tables_.reserve<double>(H);
    matrix_ = state_.reserve<Matrix<G>>(std::ssize(matrices_));
    leave_only_ = state_.reserve<double>(H);
    enter_only_ = state_.reserve<double>(H);
    // What comes back begins here.
    u_ = state_.reserve<double>(H);
    x_ = state_.reserve<double>(H);
    y_ = state_.reserve<double>(H);
    half_ = state_.reserve<double>(halves_);
    progress_ = state_.reserve<SweepProgress>(1);
    scratch_ = inside_.reserve<double>(4 * longest);
    longest_ = longest;
    auto* device = static_cast<unsigned char*>(
        machine_.device(tables_.bytes() + state_.bytes() + inside_.bytes()));
    auto* host = static_cast<unsigned char*>(machine_.host(tables_.bytes() + state_.bytes()));
    tables_.place(device, host);
    state_.place(device + tables_.bytes(), host + tables_.bytes());
    step_memory_ = at(device + tables_.bytes() + state_.bytes(), scratch_);
  }

  /// Tells neurons where their half-sums are.
  void place_half_sums() {
    std::copy(plan_.neurons.begin(), plan_.neurons.end(), tables_.host(neurons_));
    std::copy(problem_.degree.begin(), problem_.degree.end(), tables_.host(degree_));
    std::int32_t out = 0, in = 0;
    for (std::int32_t g = 0; g < problem_.groups(); ++g) {
      const auto begin = problem_.group_begin[g];
      std::fill(tables_.host(group_) + begin, tables_.host(group_) + problem_.group_begin[g + 1],
                g);
      tables_.host(out_ptr_)[g] = out;
      tables_.host(in_ptr_)[g] = in;
      for (const auto id : problem_.out_blocks[g])
        tables_.host(out_)[out++] = half_at_[id].left - begin;
      for (const auto id : problem_.in_blocks[g])
        tables_.host(in_)[in++] = half_at_[id].right - begin;
    }
    tables_.host(out_ptr_)[problem_.groups()] = out;
    tables_.host(in_ptr_)[problem_.groups()] = in;
  }

  void record(double* parts, const Box& box) {
    double* half = state_.device(half_);
    const auto to = [&](std::int32_t block, bool left) {
      return half + (left ? half_at_[block].left : half_at_[block].right);
    };
    const SweepArrays arrays{problem_.rows,
                             state_.device(leave_only_),
                             state_.device(enter_only_),
                             tables_.device(degree_),
                             state_.device(u_),
                             state_.device(x_),
                             state_.device(y_),
                             tables_.device(group_),
                             tables_.device(out_ptr_),
                             tables_.device(in_ptr_),
                             tables_.device(out_),
                             tables_.device(in_),
                             half,
                             step_memory_,
                             step_memory_ + longest_,
                             step_memory_ + 2 * longest_,
                             step_memory_ + 3 * longest_,
                             state_.device(progress_)};
    std::int64_t item = 0, task = 0;
    for (std::size_t s = 0; s < plan_.steps.size(); ++s) {
      const auto& step = plan_.steps[s];
      const auto sums = HalfSumTasks::of<G>(step.wanted, matrices_, parts, to);
      std::copy(sums.items.begin(), sums.items.end(), tables_.host(items_) + item);
      std::copy(sums.tasks.begin(), sums.tasks.end(), tables_.host(tasks_) + task);
      recording_.launch(sums.tiles,
                        PassKernel<G, Add>{state_.device(matrix_), tables_.device(items_) + item,
                                           static_cast<int>(sums.items.size()), arrays.x, arrays.y,
                                           parts, nullptr});
      launch<Add>(recording_, tables_.device(tasks_) + task, sums.tasks.size(), sums.second_tiles,
                  nullptr);
      const std::int32_t* neurons = tables_.device(neurons_) + step.first;
      const int count = step.last - step.first;
      const auto number = static_cast<std::int64_t>(s);
      if (plan_.one_by_one)
        recording_.launch(1, TurnsKernel{arrays, box, neurons, count, number});
      else
        recording_.launch(1, LevelStepKernel{arrays, neurons, count, number});
      item += std::ssize(sums.items);
      task += std::ssize(sums.tasks);
    }
    tables_.upload(machine_);
  }

  template <class T>
  void put(const std::vector<T>& from, Slot<T> to) {
    std::copy(from.begin(), from.end(), state_.host(to));
  }
  void take(Slot<double> from, std::vector<double>& to) {
    std::copy_n(state_.host(from), to.size(), to.begin());
  }
  Halves half_sum(std::size_t block) const {
    double* first = state_.host(half_);
    return {first + half_at_[block].left, first + half_at_[block].right};
  }

  Machine& machine_;
  const std::vector<Matrix<G>>& matrices_;
  const BlockProblem& problem_;
  SweepPlan plan_;
  Monitor& monitor_;
  typename Machine::Recording recording_;
  std::vector<Place> half_at_;  ///< of every block
  std::int64_t halves_ = 0, longest_ = 0, work_ = 0;
  Mirrored tables_;  ///< what never changes
  Mirrored state_;
  Region inside_;
  Slot<Item> items_;
  Slot<Collapse<double>> tasks_;
  Slot<std::int32_t> neurons_, group_, out_ptr_, in_ptr_;
  Slot<std::int64_t> out_, in_;
  Slot<double> degree_, leave_only_, enter_only_, u_, x_, y_, half_, scratch_;
  Slot<Matrix<G>> matrix_;
  Slot<SweepProgress> progress_;
  double* step_memory_ = nullptr;
};

}  // namespace pathcond::cuda
