#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "core/panel_ends.hpp"
#include "core/solve.hpp"
#include "cuda/add_cells.hpp"
#include "cuda/device_weights.hpp"
#include "cuda/panel_parts.hpp"
#include "cuda/upload_block.hpp"

namespace pathcond::cuda {

/// `merge_panels` for g on a device. Sums over taps are taken where g lies and stay there; numbers
/// per neuron, and the pairs of irregular tensors, come to the host.
template <class Machine, class G>
class DeviceMerge {
 public:
  /// The layout is arranged.
  DeviceMerge(Machine& machine, const Panels<G>& input, const PanelLayout<G>& layout, Method method,
              Monitor& monitor)
      : machine_(machine),
        method_(method),
        monitor_(monitor),
        neurons_(static_cast<std::size_t>(input.neurons)),
        rows_(input.rows),
        ends_(input, layout),
        parts_(input, layout),
        counts_(machine),
        weight_counts_(machine) {}

  /// nullopt as for `merge_panels`.
  std::optional<Merged> run() {
    lay_out();
    take_memory();
    for (auto& sums : sums_) sums.start(values_memory_);
    if (!borrowed_.empty()) weights_->start_inspection(borrowed_);
    machine_.wait();
    collect();
    if (!take_counts()) return std::nullopt;
    for (const Part& part : parts_.list) add(part);
    add_pair_blocks();
    count_weights();
    return finish();
  }

 private:
  /// A tensor is borrowed where it lies, unless taps or several tensors are added up, or pairs of
  /// irregular tensors come to it.
  void lay_out() {
    for (std::size_t id = 0; id < parts_.blocks.size(); ++id) {
      const auto& fillers = parts_.fillers_of[id];
      const bool own = fillers.size() > 1 || parts_.beside_pairs[id] ||
                       fillers.front()->rectangle.sink == Sink::block;
      values_.push_back(region_.reserve<double>(own ? parts_.blocks[id].stored() : 0));
      matrices_.push_back(parts_.shape_of(parts_.blocks[id]));
      if (!own) borrowed_.push_back({static_cast<std::int32_t>(id), true, true});
    }
    for (Part& part : parts_.list)
      if (!is_borrowed(part)) add_sum(part);
    weights_ = std::make_unique<DeviceWeights<Machine, G>>(machine_, matrices_, neurons_, monitor_);
  }

  bool is_borrowed(const Part& part) const {
    return part.fills_block() && values_[part.rectangle.block].size == 0;
  }

  /// One launch for the first tensor of every block, and for all that fills none; one more for each
  /// further tensor between the same groups.
  void add_sum(Part& part) {
    std::optional<Slot<double>> to;
    if (part.fills_block()) {
      const auto& fillers = parts_.fillers_of[part.rectangle.block];
      part.turn = static_cast<std::size_t>(std::find(fillers.begin(), fillers.end(), &part) -
                                           fillers.begin());
      to = values_[part.rectangle.block];
    }
    while (sums_.size() <= part.turn) sums_.emplace_back(machine_);
    part.sum = sums_[part.turn].add(parts_.first(part), parts_.sum_axes(part), to, part.turn > 0);
  }

  /// One allocation serves all that is known by now.
  void take_memory() {
    Need need{region_.bytes(), 0};
    for (auto& sums : sums_) need += sums.close();
    need += weights_->need(method_);
    machine_.expect(need);
    values_memory_ = machine_.device(region_.bytes());
    for (std::size_t id = 0; id < matrices_.size(); ++id) {
      Matrix<G>& matrix = matrices_[id];
      if (values_[id].size > 0) {
        matrix.own = at(values_memory_, values_[id]);
        matrix.stride = matrix.rows;
      } else {
        const Part& part = *parts_.fillers_of[id].front();
        matrix.borrowed = parts_.first(part);
        matrix.stride = parts_.panel(part).enter_stride;
      }
    }
    weights_->place(matrices_);
  }

  void collect() {
    for (Part& part : parts_.list)
      if (!is_borrowed(part)) part.look = sums_[part.turn].look(part.sum);
    std::vector<HalfSums> sums;
    for (const Block& block : parts_.blocks)
      sums.push_back({std::vector<double>(static_cast<std::size_t>(block.rows)),
                      std::vector<double>(static_cast<std::size_t>(block.columns))});
    const auto looks = weights_->inspection(borrowed_, sums);
    for (std::size_t k = 0; k < borrowed_.size(); ++k) {
      const auto id = static_cast<std::size_t>(borrowed_[k].block);
      parts_.fillers_of[id].front()->look = looks[k];
      parts_.blocks[id].row_sums = std::move(sums[id].left);
      parts_.blocks[id].column_sums = std::move(sums[id].right);
    }
    monitor_.advance(rows_);
  }

  /// Positive entries, where there are others; false if some entry may not occur at all.
  bool take_counts() {
    for (Part& part : parts_.list) {
      if (part.look.usual) continue;
      const G* first = parts_.first(part);
      if (part.is_pairs()) {
        part.enter_count = counts_.add(first, parts_.pair_axes(part));
      } else {
        part.enter_count = counts_.add(first, parts_.axes(part, 0, 1, 0));
        part.leave_count = counts_.add(first, parts_.axes(part, 0, 0, 1));
      }
    }
    counts_.run();
    return std::all_of(parts_.list.begin(), parts_.list.end(), [&](const Part& part) {
      return part.look.usual || counts_.look(part.enter_count).usual;
    });
  }

  void add(const Part& part) {
    const auto& p = parts_.panel(part);
    const auto &enters = part.rectangle.enters, &leaves = part.rectangle.leaves;
    if (part.is_pairs()) {
      add_pairs(part);
      return;
    }
    if (part.look.usual) {
      ends_.add_usual(p, enters, leaves, part.look);
    } else {
      ends_.see(counts_.look(part.enter_count));
      const double* entered = counts_.result(part.enter_count);
      const double* left = counts_.result(part.leave_count);
      for (std::int64_t e = 0; e < enters.size(); ++e) {
        const auto rows = static_cast<std::int64_t>(entered[e]);
        ends_.add_rows(rows);
        ends_.enter(p.entered[enters.begin + e], rows);
      }
      for (std::int64_t l = 0; l < leaves.size(); ++l)
        ends_.leave(p.left[leaves.begin + l], static_cast<std::int64_t>(left[l]));
    }
    const double* sums = part.fills_block() ? nullptr : sums_[part.turn].result(part.sum);
    if (part.rectangle.sink == Sink::constant) ends_.add_constant(sums[0]);
    if (part.rectangle.sink == Sink::enter_only)
      for (std::int64_t e = 0; e < enters.size(); ++e)
        ends_.add_enter_only(p.entered[enters.begin + e], sums[e]);
    if (part.rectangle.sink == Sink::leave_only)
      for (std::int64_t l = 0; l < leaves.size(); ++l)
        ends_.add_leave_only(p.left[leaves.begin + l], sums[l]);
  }

  void add_pairs(const Part& part) {
    const auto& p = parts_.panel(part);
    const double* sums = sums_[part.turn].result(part.sum);
    const double* counts = part.look.usual ? nullptr : counts_.result(part.enter_count);
    for (std::int64_t at = 0; at < p.batch * p.enters; ++at)
      for (std::int64_t l = 0; l < p.leaves; ++l) {
        const std::int64_t pair = at * p.leaves + l;
        const auto count = counts ? static_cast<std::int64_t>(counts[pair]) : p.depth();
        if (count > 0)
          ends_.add({p.entered[at], p.left[at / p.enters * p.leaves + l], count, sums[pair]});
      }
  }

  void add_pair_blocks() {
    const std::size_t filled = parts_.blocks.size();
    std::vector<CellSum> cells;
    for (Block& block : ends_.pair_blocks()) {
      const auto same = [&](const Block& other) {
        return other.source == block.source && other.target == block.target;
      };
      const auto first = parts_.blocks.begin(), last = first + static_cast<std::ptrdiff_t>(filled);
      if (const auto beside = std::find_if(first, last, same); beside != last) {
        double* own = matrices_[static_cast<std::size_t>(beside - first)].own;
        block.for_each_weight([&](std::int32_t a, std::int32_t b, double w) {
          if (w > 0) cells.push_back({own + std::int64_t{b} * block.rows + a, w});
        });
        continue;
      }
      for (const double value : block.value) positive_ += value > 0;
      matrices_.push_back(parts_.shape_of(block));
      parts_.blocks.push_back(std::move(block));
    }
    add_cells(machine_, cells);
    std::vector<Block*> blocks;
    std::vector<Matrix<G>*> matrices;
    for (std::size_t id = filled; id < parts_.blocks.size(); ++id) {
      blocks.push_back(&parts_.blocks[id]);
      matrices.push_back(&matrices_[id]);
    }
    if (blocks.empty()) return;
    upload_blocks(machine_, blocks, matrices);
    weights_ = std::make_unique<DeviceWeights<Machine, G>>(machine_, matrices_, neurons_, monitor_);
    weights_->place(matrices_);
  }

  /// Positive weights of the blocks that panels fill.
  void count_weights() {
    std::vector<std::size_t> counted;
    for (std::size_t id = 0; id < parts_.fillers_of.size(); ++id) {
      const auto& fillers = parts_.fillers_of[id];
      const Block& block = parts_.blocks[id];
      const bool usual = std::any_of(fillers.begin(), fillers.end(),
                                     [](const Part* part) { return part->look.usual; });
      if (usual) {
        positive_ += block.stored();
      } else if (matrices_[id].own) {
        const Axis none{1, 0, 0};
        counted.push_back(weight_counts_.add(matrices_[id].own,
                                             {none, none, none, none, Axis{block.stored(), 1, 0}}));
      } else {
        const double* entered = counts_.result(fillers.front()->enter_count);
        for (std::int32_t b = 0; b < block.columns; ++b)
          positive_ += static_cast<std::int64_t>(entered[b]);
      }
    }
    weight_counts_.run();
    for (const auto sum : counted)
      positive_ += static_cast<std::int64_t>(weight_counts_.result(sum)[0]);
  }

  std::optional<Merged> finish() {
    auto merged = ends_.finish(std::move(parts_.blocks), positive_);
    if (!merged) return std::nullopt;
    if (const auto& blocks = merged->blocks.blocks; !blocks.empty())
      weights_->scale_by(blocks.front().scale);
    return Merged{std::move(*merged), std::move(weights_)};
  }

  Machine& machine_;
  Method method_;
  Monitor& monitor_;
  std::size_t neurons_;
  std::int64_t rows_;
  PanelEnds<G> ends_;
  PanelParts<G> parts_;
  std::vector<Matrix<G>> matrices_;  ///< of every block
  Region region_;
  std::vector<Slot<double>> values_;  ///< of every block that does not borrow them
  void* values_memory_ = nullptr;
  std::unique_ptr<DeviceWeights<Machine, G>> weights_;
  std::vector<Wanted> borrowed_;
  std::vector<Sums<Machine, G, Sum>> sums_;  ///< of every turn
  Sums<Machine, G, Count> counts_;
  Sums<Machine, double, Count> weight_counts_;
  std::int64_t positive_ = 0;
};

}  // namespace pathcond::cuda
