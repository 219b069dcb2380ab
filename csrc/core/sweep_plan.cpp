#include "core/sweep_plan.hpp"

#include <algorithm>
#include <numeric>
#include <utility>

namespace pathcond {
namespace {

std::vector<std::int32_t> groups_of_neurons(const BlockProblem& problem) {
  std::vector<std::int32_t> group(problem.neurons());
  for (std::int32_t g = 0; g < problem.groups(); ++g)
    std::fill(group.begin() + problem.group_begin[g], group.begin() + problem.group_begin[g + 1],
              g);
  return group;
}

/// Puts steps together, and finds out what each must take afresh.
class Planner {
 public:
  explicit Planner(const BlockProblem& problem)
      : problem_(problem),
        group_of_(groups_of_neurons(problem)),
        seen_(static_cast<std::size_t>(problem.groups()), -1),
        left_(problem.blocks.size(), State::as_before),
        right_(problem.blocks.size(), State::as_before) {}

  /// `trusted`: whether half-sums that no step has spoilt are those of the point.
  void add_step(std::int32_t last, bool trusted) {
    const std::int32_t first = plan.steps.empty() ? 0 : plan.steps.back().last;
    const auto number = static_cast<std::int32_t>(plan.steps.size());
    SweepPlan::Step step{{}, first, last};
    std::vector<std::int32_t> groups;
    for (auto k = first; k < last; ++k) {
      const auto group = group_of_[plan.neurons[k]];
      if (std::exchange(seen_[group], number) != number) groups.push_back(group);
    }
    const auto need = [&](State& state, Wanted half) {
      if (state == State::spoilt || (state == State::as_before && !trusted))
        step.wanted.push_back(half);
      else if (state == State::as_before)
        plan.given.push_back(half);
      state = State::valid;
    };
    for (const auto group : groups) {
      for (const auto id : problem_.out_blocks[group]) need(left_[id], {id, true, false});
      for (const auto id : problem_.in_blocks[group]) need(right_[id], {id, false, true});
    }
    for (const auto group : groups) {
      for (const auto id : problem_.in_blocks[group]) left_[id] = State::spoilt;
      for (const auto id : problem_.out_blocks[group]) right_[id] = State::spoilt;
    }
    plan.steps.push_back(std::move(step));
  }

  std::int32_t group_of(std::int32_t neuron) const { return group_of_[neuron]; }

  SweepPlan plan;

 private:
  enum class State : char { as_before, valid, spoilt };

  const BlockProblem& problem_;
  std::vector<std::int32_t> group_of_;
  std::vector<std::int32_t> seen_;  ///< last step with a neuron of each group
  std::vector<State> left_, right_;
};

/// Whether some group of a set shares rows with this one.
class Neighbours {
 public:
  explicit Neighbours(const BlockProblem& problem)
      : problem_(problem), set_of_(static_cast<std::size_t>(problem.groups()), -1) {}

  /// Adds a group to the set; false, and nothing done, if it has a neighbour there.
  bool add(std::int32_t group) {
    if (set_of_[group] == set_) return true;
    const auto in_set = [&](std::int32_t other) { return set_of_[other] == set_; };
    for (const auto id : problem_.out_blocks[group])
      if (in_set(problem_.blocks[id].target)) return false;
    for (const auto id : problem_.in_blocks[group])
      if (in_set(problem_.blocks[id].source)) return false;
    set_of_[group] = set_;
    return true;
  }
  void clear() { ++set_; }

 private:
  const BlockProblem& problem_;
  std::vector<std::int32_t> set_of_;
  std::int32_t set_ = 0;
};

}  // namespace

SweepPlan plan_levels(const BlockProblem& problem, bool forward) {
  Planner planner(problem);
  auto& neurons = planner.plan.neurons;
  for (std::int32_t k = 0; k < problem.levels(); ++k) {
    const auto level = forward ? k : problem.levels() - 1 - k;
    const auto first = problem.group_begin[problem.level_begin[level]];
    const auto last = problem.group_begin[problem.level_begin[level + 1]];
    const auto begin = neurons.size();
    neurons.resize(begin + static_cast<std::size_t>(last - first));
    std::iota(neurons.begin() + static_cast<std::ptrdiff_t>(begin), neurons.end(), first);
    planner.add_step(static_cast<std::int32_t>(neurons.size()), true);
  }
  return std::move(planner.plan);
}

std::optional<SweepPlan> plan_cd(const BlockProblem& problem) {
  constexpr double kMostReads = 4;  // of all weights; layers one after the other take 2
  Planner planner(problem);
  planner.plan.one_by_one = true;
  auto& neurons = planner.plan.neurons;
  neurons.resize(problem.neurons());
  for (std::size_t k = 0; k < neurons.size(); ++k)
    neurons[problem.order[k]] = static_cast<std::int32_t>(k);
  Neighbours step(problem);
  double read = 0;
  const auto end_step = [&](std::size_t last) {
    planner.add_step(static_cast<std::int32_t>(last), false);
    for (const Wanted& want : planner.plan.steps.back().wanted)
      read += static_cast<double>(problem.blocks[want.block].stored());
    step.clear();
  };
  for (std::size_t k = 0; k < neurons.size(); ++k) {
    const auto group = planner.group_of(neurons[k]);
    if (step.add(group)) continue;
    end_step(k);
    if (read > kMostReads * static_cast<double>(problem.stored)) return std::nullopt;
    step.add(group);
  }
  if (!neurons.empty()) end_step(neurons.size());
  return std::move(planner.plan);
}

void mark_steps(const BlockProblem& problem, const SweepPlan& plan, std::size_t steps,
                std::vector<HalfSums>& half) {
  const auto group_of = groups_of_neurons(problem);
  for (std::size_t s = 0; s < steps; ++s) {
    const auto& step = plan.steps[s];
    for (const Wanted& want : step.wanted)
      (want.left ? half[want.block].left_valid : half[want.block].right_valid) = true;
    std::int32_t last = -1;
    for (auto k = step.first; k < step.last; ++k) {
      const auto group = group_of[plan.neurons[k]];
      if (std::exchange(last, group) == group) continue;
      for (const auto id : problem.in_blocks[group]) half[id].left_valid = false;
      for (const auto id : problem.out_blocks[group]) half[id].right_valid = false;
    }
  }
}

}  // namespace pathcond
