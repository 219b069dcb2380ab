#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <optional>
#include <utility>
#include <vector>

#include "core/box.hpp"
#include "core/coarse.hpp"
#include "core/monitor.hpp"
#include "core/sweep_plan.hpp"
#include "cuda/device_coarse.hpp"
#include "cuda/half_sums.hpp"
#include "cuda/memory.hpp"
#include "cuda/pass.hpp"
#include "cuda/sums.hpp"
#include "cuda/sweep_end.hpp"
#include "cuda/sweep_state.hpp"
#include "cuda/sweep_steps.hpp"

namespace pathcond::cuda {

/// Sweeps of which the host sees a few numbers each: the launches of all steps, and of the coarse
/// step, follow each other on the device, and the point stays there.
///
/// `cd` where neighbours follow each other is left to the host: a step of one neuron reads little
/// and waits for all before it, so that on a device every one would be a barrier at least.
template <class Machine, class G>
class DeviceSweeper final : public Sweeper {
 public:
  /// All but the plans outlive this; no `shape`: there is no coarse step. `parts`: memory for the
  /// parts of all half-sums, see `part_count`.
  DeviceSweeper(Machine& machine, const std::vector<Matrix<G>>& matrices, double* parts,
                const BlockProblem& problem, std::vector<SweepPlan> plans, const CoarseShape* shape,
                const Box& box, Monitor& monitor)
      : machine_(machine),
        matrices_(matrices),
        problem_(problem),
        plans_(std::move(plans)),
        monitor_(monitor),
        state_(matrices, problem) {
    if (shape) coarse_.emplace(problem, *shape);
    lay_out();
    tell_places();
    if (coarse_) coarse_->tell(tables_, state_);
    std::int64_t item = 0, task = 0;
    for (std::size_t number = 0; number < plans_.size(); ++number) {
      tell_sums(number);
      recordings_.emplace_back(machine_);
      record(number, parts, box, item, task);
    }
    tables_.upload(machine_);
  }

  const SweepPlan& plan(std::size_t number) const override { return plans_[number]; }
  void send(const SweepPoint& point) override { state_.send(machine_, point); }
  Swept sweep(std::size_t number) override {
    recordings_[number].run();
    const Swept swept = state_.result(machine_);
    monitor_.advance(work_ / std::ssize(plans_));
    return swept;
  }
  void bring(const SweepPoint& point, std::vector<double>& u_before) override {
    state_.bring(machine_, point, u_before);
  }

  /// Bytes of either memory for steps that want so many half-sums; what graphs with many groups
  /// need beyond that is taken later.
  static std::size_t bytes_for(std::int64_t wanted, std::int64_t matrices, std::int64_t neurons,
                               std::int64_t half_sums) {
    const std::int64_t groups = 2 * matrices + 2, entries = 4 * matrices;
    return static_cast<std::size_t>(wanted) * (sizeof(Item) + sizeof(Collapse<double>)) +
           static_cast<std::size_t>(matrices) * sizeof(Matrix<G>) +
           static_cast<std::size_t>(groups) * (2 * sizeof(Moved) + 8 * sizeof(InnerProduct)) +
           static_cast<std::size_t>(15 * neurons + half_sums + 8 * entries +
                                    CoarseRoom::size(groups, matrices, entries)) *
               sizeof(double) +
           48 * kAlignment;
  }

 private:
  std::int64_t sums() const { return 2 * problem_.groups() + std::ssize(problem_.blocks); }

  void lay_out() {
    const auto H = std::ssize(problem_.order), groups = std::int64_t{problem_.groups()};
    const auto blocks = std::ssize(problem_.blocks), plans = std::ssize(plans_);
    std::int64_t wanted = 0, longest = 0;
    for (const SweepPlan& plan : plans_)
      for (const auto& step : plan.steps) {
        wanted += std::ssize(step.wanted);
        longest = std::max<std::int64_t>(longest, step.last - step.first);
        for (const Wanted& w : step.wanted) work_ += problem_.blocks[w.block].stored();
      }
    items_ = tables_.reserve<Item>(wanted);
    tasks_ = tables_.reserve<Collapse<double>>(wanted);
    neurons_ = tables_.reserve<std::int32_t>(plans * H);
    products_ = tables_.reserve<InnerProduct>(plans * sums());
    group_ = tables_.reserve<std::int32_t>(H);
    out_ptr_ = tables_.reserve<std::int32_t>(groups + 1);
    in_ptr_ = tables_.reserve<std::int32_t>(groups + 1);
    out_ = tables_.reserve<std::int64_t>(blocks);
    in_ = tables_.reserve<std::int64_t>(blocks);
    degree_ = tables_.reserve<double>(H);
    sums_ = inside_.reserve<double>(sums());
    scratch_ = inside_.reserve<double>(4 * longest);
    ends_ = inside_.reserve<SweepEnd>(tiles_of(H, kSweepTile));
    longest_ = longest;
    if (coarse_) coarse_->reserve(tables_, inside_);
    const std::size_t both = tables_.bytes() + state_.bytes();
    auto* device = static_cast<unsigned char*>(machine_.device(both + inside_.bytes()));
    auto* host = static_cast<unsigned char*>(machine_.host(both));
    tables_.place(device, host);
    state_.place(device + tables_.bytes(), host + tables_.bytes());
    inside_memory_ = device + both;
  }

  /// Tells neurons where their half-sums are.
  void tell_places() {
    std::copy(problem_.degree.begin(), problem_.degree.end(), tables_.host(degree_));
    std::int32_t out = 0, in = 0;
    for (std::int32_t g = 0; g < problem_.groups(); ++g) {
      const auto begin = problem_.group_begin[g];
      std::fill(tables_.host(group_) + begin, tables_.host(group_) + problem_.group_begin[g + 1],
                g);
      tables_.host(out_ptr_)[g] = out;
      tables_.host(in_ptr_)[g] = in;
      for (const auto id : problem_.out_blocks[g])
        tables_.host(out_)[out++] = state_.half_at(id).left - begin;
      for (const auto id : problem_.in_blocks[g])
        tables_.host(in_)[in++] = state_.half_at(id).right - begin;
    }
    tables_.host(out_ptr_)[problem_.groups()] = out;
    tables_.host(in_ptr_)[problem_.groups()] = in;
  }

  /// What the inner products of a plan are of, from the half-sums that it leaves valid.
  void tell_sums(std::size_t number) {
    std::vector<HalfSums> valid(problem_.blocks.size());
    mark_steps(problem_, plans_[number], plans_[number].steps.size(), valid);
    InnerProduct* product = tables_.host(products_) + static_cast<std::int64_t>(number) * sums();
    for (const auto& [only, with] :
         {std::pair{state_.leave_only(), state_.x()}, std::pair{state_.enter_only(), state_.y()}})
      for (std::int32_t g = 0; g < problem_.groups(); ++g) {
        const auto begin = problem_.group_begin[g];
        *product++ = {only + begin, with + begin, problem_.group_begin[g + 1] - begin};
      }
    for (std::size_t id = 0; id < problem_.blocks.size(); ++id) {
      const Block& block = problem_.blocks[id];
      const auto& at = state_.half_at(id);
      if (valid[id].right_valid)
        *product++ = {state_.half() + at.right, state_.y() + problem_.group_begin[block.target],
                      block.columns};
      else
        *product++ = {state_.half() + at.left, state_.x() + problem_.group_begin[block.source],
                      block.rows};
    }
  }

  SweepArrays arrays() const {
    double* scratch = inside(scratch_);
    return {problem_.rows,
            state_.leave_only(),
            state_.enter_only(),
            tables_.device(degree_),
            state_.u(),
            state_.x(),
            state_.y(),
            tables_.device(group_),
            tables_.device(out_ptr_),
            tables_.device(in_ptr_),
            tables_.device(out_),
            tables_.device(in_),
            state_.half(),
            scratch,
            scratch + longest_,
            scratch + 2 * longest_,
            scratch + 3 * longest_,
            state_.progress()};
  }

  /// `item`, `task`: of the lists, the first that are not told yet.
  void record(std::size_t number, double* parts, const Box& box, std::int64_t& item,
              std::int64_t& task) {
    const SweepPlan& plan = plans_[number];
    auto& recording = recordings_[number];
    const SweepArrays all = arrays();
    const auto H = std::ssize(problem_.order);
    const auto to = [&](std::int32_t block, bool left) {
      const auto& at = state_.half_at(static_cast<std::size_t>(block));
      return state_.half() + (left ? at.left : at.right);
    };
    const std::int64_t first_neuron = static_cast<std::int64_t>(number) * H;
    std::copy(plan.neurons.begin(), plan.neurons.end(), tables_.host(neurons_) + first_neuron);
    recording.launch(std::max<std::int64_t>(1, tiles_of(H, kSweepTile)),
                     BeginSweepKernel{all.u, state_.before(), H, all.progress});
    for (std::size_t s = 0; s < plan.steps.size(); ++s) {
      const auto& step = plan.steps[s];
      const auto halves = HalfSumTasks::of<G>(step.wanted, matrices_, parts, to);
      std::copy(halves.items.begin(), halves.items.end(), tables_.host(items_) + item);
      std::copy(halves.tasks.begin(), halves.tasks.end(), tables_.host(tasks_) + task);
      recording.launch(
          halves.tiles,
          PassKernel<G, Add>{state_.matrices(), tables_.device(items_) + item,
                             static_cast<int>(halves.items.size()), all.x, all.y, parts, nullptr});
      launch<Add>(recording, tables_.device(tasks_) + task, halves.tasks.size(),
                  halves.second_tiles, nullptr);
      const std::int32_t* neurons = tables_.device(neurons_) + first_neuron + step.first;
      const int count = step.last - step.first;
      const auto turn = static_cast<std::int64_t>(s);
      if (plan.one_by_one)
        recording.launch(1, TurnsKernel{all, box, neurons, count, turn});
      else
        recording.launch(1, LevelStepKernel{all, neurons, count, turn});
      item += std::ssize(halves.items);
      task += std::ssize(halves.tasks);
    }
    record_end(number, std::ssize(plan.steps));
  }

  void record_end(std::size_t number, std::int64_t steps) {
    auto& recording = recordings_[number];
    const auto H = std::ssize(problem_.order);
    double* results = inside(sums_);
    recording.launch(sums(), InnerProductKernel{tables_.device(products_) +
                                                    static_cast<std::int64_t>(number) * sums(),
                                                results});
    if (coarse_) {
      coarse_->record(recording, tables_, inside_memory_, results, state_, steps);
    } else {
      recording.launch(1, TotalKernel{results, static_cast<int>(sums()), state_.constant(), steps,
                                      state_.progress()});
    }
    const std::int64_t tiles = tiles_of(H, kSweepTile);
    recording.launch(tiles, MeasureKernel{state_.u(), state_.base(), tables_.device(degree_),
                                          problem_.rows, H, inside(ends_)});
    recording.launch(1, JoinEndKernel{inside(ends_), static_cast<int>(tiles), state_.end()});
  }

  template <class T>
  T* inside(Slot<T> slot) const {
    return at(inside_memory_, slot);
  }

  Machine& machine_;
  const std::vector<Matrix<G>>& matrices_;
  const BlockProblem& problem_;
  std::vector<SweepPlan> plans_;
  Monitor& monitor_;
  SweepState<Machine, G> state_;
  std::optional<DeviceCoarse> coarse_;
  std::deque<typename Machine::Recording> recordings_;  ///< of every plan
  std::int64_t longest_ = 0, work_ = 0;
  Mirrored tables_;  ///< what never changes
  Region inside_;
  void* inside_memory_ = nullptr;
  Slot<Item> items_;
  Slot<Collapse<double>> tasks_;
  Slot<InnerProduct> products_;
  Slot<std::int32_t> neurons_, group_, out_ptr_, in_ptr_;
  Slot<std::int64_t> out_, in_;
  Slot<double> degree_, sums_, scratch_;
  Slot<SweepEnd> ends_;
};

}  // namespace pathcond::cuda
