#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "core/monitor.hpp"
#include "core/solve.hpp"
#include "core/weights.hpp"
#include "cuda/absorb.hpp"
#include "cuda/bring_block.hpp"
#include "cuda/couplings.hpp"
#include "cuda/device_sweeper.hpp"
#include "cuda/half_sums.hpp"
#include "cuda/pass.hpp"
#include "cuda/sums.hpp"

namespace pathcond::cuda {

/// Weights that stay on a device. What a launch is told, points among it, goes there in one copy;
/// one launch reads all matrices, another adds up the parts of its tiles, and the half-sums come
/// back in one copy. Sweeps do this step after step, see `DeviceSweeper`.
template <class Machine, class G>
class DeviceWeights final : public Weights {
 public:
  /// Of matrices of these shapes, whose values are yet to be named.
  DeviceWeights(Machine& machine, std::vector<Matrix<G>> shapes, std::size_t neurons,
                Monitor& monitor)
      : machine_(machine), matrices_(std::move(shapes)), neurons_(neurons), monitor_(monitor) {
    const auto n = std::ssize(matrices_);
    matrix_slot_ = up_.reserve<Matrix<G>>(n);
    original_slot_ = up_.reserve<Matrix<G>>(n);
    item_slot_ = up_.reserve<Item>(n);
    task_slot_ = up_.reserve<Collapse<double>>(2 * n);
    x_ = up_.reserve<double>(static_cast<std::int64_t>(neurons));
    y_ = up_.reserve<double>(static_cast<std::int64_t>(neurons));
    std::int64_t parts = 0, largest = 0, tiles = 0;
    for (const auto& m : matrices_) {
      half_sums_ += m.rows + m.columns;
      parts += part_count(m);
      tiles += pass_tiles(m);
      largest += absorb_tiles(m);
    }
    sums_ = down_.reserve<double>(half_sums_);
    seen_ = down_.reserve<Seen>(n);
    strongest_ = down_.reserve<Strongest>(half_sums_);
    largest_ = down_.reserve<Largest>(largest);
    parts_ = inside_.reserve<double>(parts);
    tiles_seen_ = inside_.reserve<Seen>(tiles);
  }

  /// Memory that this needs, and sweeps of a method.
  Need need(Method method) const {
    const auto n = std::ssize(matrices_), H = static_cast<std::int64_t>(neurons_);
    const std::size_t sweeper = method == Method::newton
                                    ? 0
                                    : DeviceSweeper<Machine, G>::bytes_for(2 * n, n, H, half_sums_);
    const std::size_t both = up_.bytes() + down_.bytes() + sweeper;
    return {both + inside_.bytes(), both};
  }

  /// Takes memory, and the matrices with their values.
  void place(std::vector<Matrix<G>> matrices) {
    matrices_ = std::move(matrices);
    auto* device =
        static_cast<unsigned char*>(machine_.device(up_.bytes() + down_.bytes() + inside_.bytes()));
    auto* host = static_cast<unsigned char*>(machine_.host(up_.bytes() + down_.bytes()));
    up_.place(device, host);
    down_.place(device + up_.bytes(), host + up_.bytes());
    inside_memory_ = device + up_.bytes() + down_.bytes();
  }

  /// Every weight is this times what is stored.
  void scale_by(double factor) {
    for (auto& matrix : matrices_) matrix.scale = factor;
  }

  void sum(std::span<const Wanted> wanted, const std::vector<double>& x,
           const std::vector<double>& y, std::vector<HalfSums>& sums) override {
    copy(x, x_);
    copy(y, y_);
    start<Add>(wanted, up_.device(x_), up_.device(y_), nullptr);
    machine_.wait();
    collect(wanted, sums);
  }

  /// Half-sums at x = y = 1, and a look at the entries of every matrix wanted; both are read, once
  /// the machine has been waited for, by the other.
  void start_inspection(std::span<const Wanted> wanted) {
    Seen* of_tiles = at(inside_memory_, tiles_seen_);
    start<Sum>(wanted, nullptr, nullptr, of_tiles);
    machine_.launch(std::ssize(wanted),
                    JoinSeenKernel<Item>{up_.device(item_slot_), of_tiles, down_.device(seen_)});
    machine_.download(down_.host(seen_), down_.device(seen_), wanted.size() * sizeof(Seen));
  }
  std::vector<Look> inspection(std::span<const Wanted> wanted, std::vector<HalfSums>& sums) const {
    collect(wanted, sums);
    std::vector<Look> looks;
    for (std::size_t k = 0; k < wanted.size(); ++k) looks.push_back(down_.host(seen_)[k].look());
    return looks;
  }

  double largest_exponent(const std::vector<double>& u) override {
    const auto items = items_of([](const auto& m) { return absorb_tiles(m); });
    copy(u, x_);
    tell(items.list, {});
    machine_.launch(items.tiles,
                    LargestKernel<G>{up_.device(original_slot_), up_.device(item_slot_),
                                     count(items), up_.device(x_), down_.device(largest_)});
    fetch(largest_, items.tiles);
    Largest all;
    for (std::int64_t k = 0; k < items.tiles; ++k) all.join(down_.host(largest_)[k]);
    return all.exponent;
  }

  void absorb(const std::vector<double>& u, double offset) override {
    if (originals_.empty()) own_all();
    const auto items = items_of([](const auto& m) { return absorb_tiles(m); });
    copy(u, x_);
    tell(items.list, {});
    machine_.launch(items.tiles,
                    AbsorbKernel<G>{up_.device(original_slot_), up_.device(matrix_slot_),
                                    up_.device(item_slot_), count(items), up_.device(x_), offset});
    machine_.wait();
    for (const auto& m : matrices_) monitor_.advance(stored(m));
  }

  std::vector<Coupling> strong_couplings(const std::vector<double>& x, const std::vector<double>& y,
                                         double total) override {
    const auto items = items_of([](const auto& m) { return CouplingKernel<G>::tiles(m); });
    copy(x, x_);
    copy(y, y_);
    tell(items.list, {});
    machine_.launch(items.tiles, CouplingKernel<G>{up_.device(matrix_slot_), up_.device(item_slot_),
                                                   count(items), up_.device(x_), up_.device(y_),
                                                   down_.device(strongest_)});
    fetch(strongest_, items.sums);
    StrongCouplings strong(x.size());
    const Strongest* found = down_.host(strongest_);
    const auto offer = [&](std::int64_t neuron, std::int64_t first, const Strongest& best) {
      for (int k = 0; k < Strongest::kMost; ++k)
        if (best.size[k] > 0)
          strong.offer_to(static_cast<std::int32_t>(neuron),
                          static_cast<std::int32_t>(first + best.other[k]), -best.size[k] / total);
    };
    for (const auto& m : matrices_) {
      for (std::int64_t a = 0; a < m.rows; ++a) offer(m.source + a, m.target, *found++);
      for (std::int64_t b = 0; b < m.columns; ++b) offer(m.target + b, m.source, *found++);
      monitor_.advance(stored(m));
    }
    return strong.list();
  }

  std::unique_ptr<Sweeper> level_sweeper(const BlockProblem& problem,
                                         const CoarseShape& shape) override {
    return sweeper(problem, {plan_levels(problem, false), plan_levels(problem, true)}, &shape, {});
  }
  std::unique_ptr<Sweeper> cd_sweeper(const BlockProblem& problem, const Box& box) override {
    auto plan = plan_cd(problem);
    return plan ? sweeper(problem, {std::move(*plan)}, nullptr, box) : nullptr;
  }

  void bring_to(std::vector<Block>& blocks) override {
    for (std::size_t id = 0; id < blocks.size(); ++id)
      bring_block(machine_, matrices_[id], blocks[id]);
  }

 private:
  struct Items {
    std::vector<Item> list;
    std::int64_t tiles = 0, sums = 0;
  };

  static std::int64_t stored(const Matrix<G>& m) {
    return m.dense() ? static_cast<std::int64_t>(m.rows) * m.columns : m.values;
  }
  static int count(const Items& items) { return static_cast<int>(items.list.size()); }

  std::unique_ptr<Sweeper> sweeper(const BlockProblem& problem, std::vector<SweepPlan> plans,
                                   const CoarseShape* shape, const Box& box) {
    return std::make_unique<DeviceSweeper<Machine, G>>(machine_, matrices_,
                                                       at(inside_memory_, parts_), problem,
                                                       std::move(plans), shape, box, monitor_);
  }

  /// All matrices, the rows of each before its columns in what comes back.
  template <class Tiles>
  Items items_of(const Tiles& tiles) const {
    Items items;
    for (std::size_t id = 0; id < matrices_.size(); ++id) {
      const auto& m = matrices_[id];
      items.list.push_back(
          {static_cast<std::int32_t>(id), 1, 1, items.sums, items.sums + m.rows, tiles(m), 0});
      items.sums += m.rows + m.columns;
    }
    items.tiles = number_tiles(items.list);
    return items;
  }

  void copy(const std::vector<double>& from, Slot<double> to) {
    std::copy(from.begin(), from.end(), up_.host(to));
  }

  /// Sends all that a launch reads, but weights.
  void tell(const std::vector<Item>& items, const std::vector<Collapse<double>>& tasks) {
    const auto& originals = originals_.empty() ? matrices_ : originals_;
    std::copy(matrices_.begin(), matrices_.end(), up_.host(matrix_slot_));
    std::copy(originals.begin(), originals.end(), up_.host(original_slot_));
    std::copy(items.begin(), items.end(), up_.host(item_slot_));
    std::copy(tasks.begin(), tasks.end(), up_.host(task_slot_));
    up_.upload(machine_);
  }

  /// Brings the first results of an array.
  template <class T>
  void fetch(Slot<T> slot, std::int64_t size) {
    machine_.download(down_.host(slot), down_.device(slot),
                      static_cast<std::size_t>(size) * sizeof(T));
    machine_.wait();
  }

  /// The half-sums wanted, one after the other, left before right, to `sums_`.
  template <class Read>
  void start(std::span<const Wanted> wanted, const double* x, const double* y, Seen* seen) {
    double* parts = at(inside_memory_, parts_);
    std::int64_t results = 0;
    const auto to = [&](std::int32_t block, bool left) {
      const auto& m = matrices_[block];
      return down_.device(sums_) + std::exchange(results, results + (left ? m.rows : m.columns));
    };
    const auto halves = HalfSumTasks::of<G>(wanted, matrices_, parts, to);
    for (const Wanted& w : wanted) monitor_.advance(stored(matrices_[w.block]));
    tell(halves.items, halves.tasks);
    machine_.launch(halves.tiles,
                    PassKernel<G, Read>{up_.device(matrix_slot_), up_.device(item_slot_),
                                        static_cast<int>(halves.items.size()), x, y, parts, seen});
    launch<Add>(machine_, up_.device(task_slot_), halves.tasks.size(), halves.second_tiles,
                nullptr);
    machine_.download(down_.host(sums_), down_.device(sums_),
                      static_cast<std::size_t>(results) * sizeof(double));
  }

  void collect(std::span<const Wanted> wanted, std::vector<HalfSums>& sums) const {
    const double* next = down_.host(sums_);
    const auto take = [&next](bool is_wanted, std::vector<double>& to) {
      if (!is_wanted) return;
      std::copy_n(next, to.size(), to.begin());
      next += to.size();
    };
    for (const Wanted& w : wanted) {
      take(w.left, sums[w.block].left);
      take(w.right, sums[w.block].right);
    }
  }

  /// Gives every matrix values of its own, and keeps what it had as the original.
  void own_all() {
    originals_ = matrices_;
    Region values;
    std::vector<Slot<double>> slots;
    for (const auto& m : matrices_)
      for (int copies = m.dense() ? 1 : 2; copies > 0; --copies)
        slots.push_back(values.reserve<double>(stored(m)));
    void* memory = machine_.device(values.bytes());
    auto slot = slots.begin();
    for (auto& m : matrices_) {
      m.scale = 1;
      if (m.dense()) {
        m.own = at(memory, *slot++);
        m.stride = m.rows;
      } else {
        m.by_column.value = at(memory, *slot++);
        m.by_row.value = at(memory, *slot++);
      }
    }
  }

  Machine& machine_;
  std::vector<Matrix<G>> matrices_, originals_;
  std::size_t neurons_;
  Monitor& monitor_;
  std::int64_t half_sums_ = 0;
  Mirrored up_, down_;
  Region inside_;
  Slot<Matrix<G>> matrix_slot_, original_slot_;
  Slot<Item> item_slot_;
  Slot<Collapse<double>> task_slot_;
  Slot<double> x_, y_, sums_, parts_;
  Slot<Seen> seen_, tiles_seen_;
  Slot<Strongest> strongest_;
  Slot<Largest> largest_;
  unsigned char* inside_memory_ = nullptr;
};

}  // namespace pathcond::cuda
