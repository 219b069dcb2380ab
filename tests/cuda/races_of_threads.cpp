// Kernels with `DeviceLane` itself, for ThreadSanitizer: it sees whatever no barrier orders, in
// whatever order the threads of a block come, reads outside of the lane's steps too. Arguments
// name what runs; prints of each whether all threads have met the same barriers. Whole solves are
// in `test_device_on_host.py`.

#include <cmath>
#include <cstdio>
#include <map>
#include <numeric>
#include <string_view>

#include "core/coarse.hpp"
#include "cuda/device_machine.cuh"
#include "cuda/scale_parameters_on.hpp"
#include "cuda/sort_rows.hpp"
#include "cuda/sweep_steps.hpp"

using namespace pathcond;
using namespace pathcond::cuda;

namespace {

constexpr int kNumbers = 2 * kThreads;

/// All threads read what one has written, before another writes it again.
template <bool barrier>
struct ReadOutside {
  struct Shared {
    double number;
  };
  double* result;
  template <class Lane>
  void operator()(const Lane& lane, Shared& shared) const {
    lane.for_each(1, [&](int) { shared.number = 1; });
    const double number = shared.number;
    if (barrier) lane.for_each(kThreads, [](int) {});
    lane.for_each(1, [&](int) { shared.number = 2; });
    lane.for_each(kNumbers, [&](int i) { result[i] = number; });
  }
};

/// Some threads leave before a barrier that the others meet.
struct Parting {
  struct Shared {};
  template <class Lane>
  void operator()(const Lane& lane, Shared&) const {
    bool some = false;
    lane.for_each(kThreads, [&](int i) { some = i < 7; });
    if (some) return;
    lane.for_each(1, [](int) {});
  }
};

template <class Kernel>
void run(DeviceMachine& machine, const Kernel& kernel) {
  machine.launch(2, kernel);
  machine.wait();
}

/// The factors of a matrix in which every other pivot is 0, and a coarse step.
struct Coarse {
  struct Shared {};
  CoarseTables tables;
  CoarseWeights weights;
  CoarseRoom room;
  const double* diagonal;
  template <class Lane>
  void operator()(const Lane& lane, Shared&) const {
    factor(lane, tables.pattern, diagonal, room.lower, room.pivot);
    minimise(lane, tables, weights, room);
  }
};

void run_coarse(DeviceMachine& machine) {
  constexpr int n = 12;
  CoarseShape::Links links;
  for (int a = 0; a < n; ++a)
    for (int b = a; b < n; b += 1 + a % 3) links.emplace_back(a, b);
  const CoarseShape shape(n, links);
  CoarseProblem problem(shape);
  std::vector<double> diagonal(n);
  for (std::size_t k = 0; k < n; ++k) {
    diagonal[k] = k % 2;
    problem.leave[k] = std::exp(k % 5);
    problem.enter[k] = std::exp(k % 3);
    problem.share[k] = 0.01 * static_cast<double>(k) - 0.05;
  }
  for (std::size_t k = 0; k < links.size(); ++k) problem.link[k] = std::exp(k % 7);
  const auto size = CoarseRoom::size(n, shape.links(), shape.entries());
  std::vector<double> room(static_cast<std::size_t>(size));
  machine.launch(
      1, Coarse{shape.tables(), problem.weights(),
                CoarseRoom::in(room.data(), n, shape.links(), shape.entries()), diagonal.data()});
  machine.wait();
}

/// Steps of neurons of one group, each of which has rows of its own.
void run_sweep(DeviceMachine& machine) {
  std::vector<double> numbers(9 * kNumbers, 1.0), half;
  auto take = [&, k = 0]() mutable { return numbers.data() + k++ * kNumbers; };
  std::vector<std::int32_t> order(kNumbers), group(kNumbers), ptr(2);
  std::iota(order.begin(), order.end(), 0);
  double *leave_only = take(), *enter_only = take(), *u = take(), *x = take(), *y = take();
  std::vector<double> degree(kNumbers);
  SweepProgress progress{3.0 * kNumbers, 0, 0, 0};
  const SweepArrays all{
      3.0 * kNumbers, leave_only, enter_only, degree.data(), u,       x,       y,
      group.data(),   ptr.data(), ptr.data(), nullptr,       nullptr, nullptr, take(),
      take(),         take(),     take(),     &progress};
  for (int k = 0; k < kNumbers; ++k) leave_only[k] = 1 + k % 4;
  progress.total += std::accumulate(leave_only, leave_only + kNumbers, 0.0);
  machine.launch(1, LevelStepKernel{all, order.data(), kNumbers, 0});
  machine.launch(1, TurnsKernel{all, {}, order.data(), kNumbers, 1});
  machine.wait();
  if (progress.steps != 2) std::printf("no steps\n");
}

void run_sort(DeviceMachine& machine) {
  constexpr std::int64_t n = 5000, neurons = 100;
  std::vector<Ends> ends(2 * n);
  std::vector<float> g(2 * n, 1.0f);
  for (std::int64_t k = 0; k < n; ++k)
    ends[k] = {static_cast<std::int32_t>(k * 37 % neurons), static_cast<std::int32_t>(k % 7)};
  std::vector<std::int64_t> counts(sort_counts(n)), room(prefix_room(sort_counts(n)) + 1);
  sort_rows(
      machine, g.data(), n, n, neurons,
      SortMemory<float>{
          {ends.data(), ends.data() + n}, {g.data(), g.data() + n}, counts.data(), room.data()});
  machine.wait();
}

void run_scale(DeviceMachine& machine) {
  std::vector<float> x(9000, 1.0f);
  const std::vector<double> factors(110, 1.5);
  scale_parameters_on(
      machine, {{x.data(), Dtype::float32, {90, 20, 5}, {0, {1, 0, 0}}, {90, {0, 1, 0}}}}, factors);
}

}  // namespace

int main(int count, char** arguments) {
  std::vector<double> result(kNumbers);
  const std::map<std::string_view, std::function<void(DeviceMachine&)>> kernels{
      {"barrier", [&](auto& machine) { run(machine, ReadOutside<true>{result.data()}); }},
      {"no_barrier", [&](auto& machine) { run(machine, ReadOutside<false>{result.data()}); }},
      {"parting", [](auto& machine) { run(machine, Parting{}); }},
      {"coarse", run_coarse},
      {"sweep", run_sweep},
      {"sort", run_sort},
      {"scale", run_scale}};
  for (int k = 1; k < count; ++k) {
    std::vector<std::vector<std::int64_t>> memory;
    const auto allocate = [&](std::size_t bytes) -> void* {
      return memory.emplace_back(bytes / sizeof(std::int64_t) + 1).data();
    };
    DeviceMachine machine({allocate, allocate}, nullptr);
    try {
      kernels.at(arguments[k])(machine);
      std::printf("together\n");
    } catch (const DeviceError&) {
      std::printf("parted\n");
    }
  }
}
