#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "core/monitor.hpp"
#include "core/weights.hpp"
#include "cuda/absorb.hpp"
#include "cuda/couplings.hpp"
#include "cuda/pass.hpp"
#include "cuda/sums.hpp"

namespace pathcond::cuda {

/// Weights that stay on a device. What a launch is told, points among it, goes there in one copy;
/// one launch reads all matrices, another adds up the parts of its tiles, and the half-sums come
/// back in one copy.
template <class Machine, class G>
class DeviceWeights final : public Weights {
 public:
  DeviceWeights(Machine& machine, std::vector<Matrix<G>> matrices, std::size_t neurons,
                Monitor& monitor)
      : machine_(machine), matrices_(std::move(matrices)), monitor_(monitor) {
    const auto n = std::ssize(matrices_);
    matrix_slot_ = up_.reserve<Matrix<G>>(n);
    original_slot_ = up_.reserve<Matrix<G>>(n);
    item_slot_ = up_.reserve<Item>(n);
    task_slot_ = up_.reserve<Collapse<double>>(2 * n);
    x_ = up_.reserve<double>(static_cast<std::int64_t>(neurons));
    y_ = up_.reserve<double>(static_cast<std::int64_t>(neurons));
    std::int64_t sums = 0, parts = 0, largest = 0;
    for (const auto& m : matrices_) {
      sums += m.rows + m.columns;
      parts += column_tiles(m) * m.rows + row_tiles(m) * m.columns;
      inspected_tiles_ += pass_tiles(m);
      largest += absorb_tiles(m);
    }
    sums_ = down_.reserve<double>(sums);
    seen_ = down_.reserve<Seen>(n);
    strongest_ = down_.reserve<Strongest>(sums);
    largest_ = down_.reserve<Largest>(largest);
    parts_ = inside_.reserve<double>(parts);
    auto* device =
        static_cast<unsigned char*>(machine_.device(up_.bytes() + down_.bytes() + inside_.bytes()));
    auto* host = static_cast<unsigned char*>(machine_.host(up_.bytes() + down_.bytes()));
    up_.place(device, host);
    down_.place(device + up_.bytes(), host + up_.bytes());
    part_memory_ = at(device + up_.bytes() + down_.bytes(), parts_);
  }

  /// Every weight is this times what is stored.
  void scale_by(double factor) {
    for (auto& matrix : matrices_) matrix.scale = factor;
  }

  /// Newton's method needs about twice as many reads as sweeps, but all blocks at once: sweeps pay
  /// while what their launches cost on top, one per level, is below the time of one read. An
  /// estimate, not measured: a launch and its copies take as long as reading 2^24 weights.
  bool sweeps_pay(std::int32_t levels) const override {
    constexpr std::int64_t kWeightsPerLaunch = 1 << 24;
    std::int64_t all = 0;
    for (const auto& m : matrices_) all += stored(m);
    return (levels - 2) * kWeightsPerLaunch <= all;
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
    auto* of_tiles = static_cast<Seen*>(
        machine_.device(static_cast<std::size_t>(inspected_tiles_) * sizeof(Seen)));
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

 private:
  struct Items {
    std::vector<Item> list;
    std::int64_t tiles = 0, sums = 0;
  };

  static std::int64_t row_tiles(const Matrix<G>& m) { return m.dense() ? sides(m.rows) : 1; }
  static std::int64_t column_tiles(const Matrix<G>& m) { return m.dense() ? sides(m.columns) : 1; }
  static std::int64_t pass_tiles(const Matrix<G>& m) {
    return m.dense() ? row_tiles(m) * column_tiles(m) : segment_tiles(m.rows, m.columns);
  }
  static std::int64_t stored(const Matrix<G>& m) {
    return m.dense() ? static_cast<std::int64_t>(m.rows) * m.columns : m.values;
  }
  static int count(const Items& items) { return static_cast<int>(items.list.size()); }

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
    std::vector<Item> items;
    std::vector<Collapse<double>> tasks;
    std::int64_t parts = 0, results = 0;
    const auto half = [&](bool is_wanted, std::int64_t size, std::int64_t pieces) {
      const std::int64_t first = parts;
      if (!is_wanted) return first;
      auto task = plan_pieces(size, pieces, Cut::never);
      task.from = part_memory_ + first;
      task.to = down_.device(sums_) + results;
      tasks.push_back(task);
      parts += size * pieces;
      results += size;
      return first;
    };
    for (const Wanted& w : wanted) {
      const auto& m = matrices_[w.block];
      Item item{w.block, w.left, w.right, 0, 0, pass_tiles(m), 0};
      item.left_to = half(w.left, m.rows, column_tiles(m));
      item.right_to = half(w.right, m.columns, row_tiles(m));
      items.push_back(item);
      monitor_.advance(stored(m));
    }
    const std::int64_t tiles = number_tiles(items), second_tiles = number_tiles(tasks);
    tell(items, tasks);
    machine_.launch(tiles,
                    PassKernel<G, Read>{up_.device(matrix_slot_), up_.device(item_slot_),
                                        static_cast<int>(items.size()), x, y, part_memory_, seen});
    launch<Add>(machine_, up_.device(task_slot_), tasks.size(), second_tiles, nullptr);
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
  Monitor& monitor_;
  Mirrored up_, down_;
  Region inside_;
  Slot<Matrix<G>> matrix_slot_, original_slot_;
  Slot<Item> item_slot_;
  Slot<Collapse<double>> task_slot_;
  Slot<double> x_, y_, sums_, parts_;
  Slot<Seen> seen_;
  Slot<Strongest> strongest_;
  Slot<Largest> largest_;
  double* part_memory_ = nullptr;
  std::int64_t inspected_tiles_ = 0;  ///< at most
};

}  // namespace pathcond::cuda
