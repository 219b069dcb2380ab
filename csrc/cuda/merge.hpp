#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "core/panel_ends.hpp"
#include "core/solve.hpp"
#include "cuda/device_weights.hpp"
#include "cuda/upload_block.hpp"

namespace pathcond::cuda {

/// `merge_panels` for g on a device. Sums over taps are taken where g lies and stay there; numbers
/// per neuron, and the pairs of irregular tensors, come to the host.
template <class Machine, class G>
class DeviceMerge {
 public:
  DeviceMerge(Machine& machine, const Panels<G>& input, Monitor& monitor)
      : machine_(machine),
        monitor_(monitor),
        input_(input),
        layout_(input),
        ends_(input_, layout_),
        sums_(machine),
        counts_(machine),
        weight_counts_(machine) {}

  /// nullopt as for `merge_panels`, and where an irregular tensor lies between the same groups as
  /// another tensor.
  std::optional<Merged> run() {
    if (!layout_.arrange()) return std::nullopt;
    for (const Rectangle& rectangle : layout_.rectangles()) parts_.push_back({rectangle});
    group_blocks();
    take_sums();
    inspect_borrowed();
    if (!take_counts()) return std::nullopt;
    for (const Part& part : parts_) add(part);
    if (!add_pair_blocks()) return std::nullopt;
    return finish();
  }

 private:
  /// A rectangle, and what is known of it.
  struct Part {
    Rectangle rectangle;
    std::size_t sum = 0, enter_count = 0, leave_count = 0;  ///< numbers of sums
    Look look{};
  };

  const Panel<G>& panel(const Part& part) const { return input_.panels[part.rectangle.panel]; }
  static bool is_pairs(const Part& part) { return part.rectangle.sink == Sink::pairs; }
  static bool fills_block(const Part& part) {
    return part.rectangle.sink == Sink::block || part.rectangle.sink == Sink::borrowed;
  }

  const G* first(const Part& part) const {
    const auto& p = panel(part);
    return p.g + part.rectangle.enters.begin * p.enter_stride +
           part.rectangle.leaves.begin * p.leave_stride;
  }

  /// Axes of a part: k, e, l with these strides in the sums.
  PanelAxes axes(const Part& part, std::int64_t k, std::int64_t e, std::int64_t l) const {
    const auto& p = panel(part);
    const auto &enters = part.rectangle.enters, &leaves = part.rectangle.leaves;
    const bool whole = is_pairs(part);
    return {Axis{p.batch, p.batch_stride, k},
            Axis{whole ? p.enters : enters.size(), p.enter_stride, e},
            Axis{whole ? p.leaves : leaves.size(), p.leave_stride, l},
            Axis{p.repeats, p.repeat_stride, 0}, Axis{p.taps, p.tap_stride, 0}};
  }
  PanelAxes pair_axes(const Part& part) const {
    const auto& p = panel(part);
    return axes(part, p.enters * p.leaves, p.leaves, 1);
  }

  /// Blocks between groups; what several tensors have in one is added up, so it is not borrowed.
  void group_blocks() {
    std::map<std::pair<std::int32_t, std::int32_t>, std::size_t> known;
    for (Part& part : parts_) {
      if (!fills_block(part)) continue;
      const auto source = part.rectangle.leaves.group, target = part.rectangle.enters.group;
      const auto [at, fresh] = known.try_emplace({source, target}, blocks_.size());
      part.rectangle.block = at->second;
      if (fresh) {
        blocks_.push_back(layout_.block_between(source, target));
        filled_by_.emplace_back();
      }
      filled_by_[at->second].push_back(&part);
    }
    Region region;
    std::vector<Slot<double>> slots;
    for (std::size_t id = 0; id < blocks_.size(); ++id) {
      const Part& part = *filled_by_[id].front();
      const bool own = filled_by_[id].size() > 1 || part.rectangle.sink == Sink::block;
      slots.push_back(region.reserve<double>(own ? blocks_[id].stored() : 0));
    }
    void* memory = region.bytes() > 0 ? machine_.device(region.bytes()) : nullptr;
    const auto& begin = group_begin();
    for (std::size_t id = 0; id < blocks_.size(); ++id) {
      const Part& part = *filled_by_[id].front();
      Matrix<G> matrix = shape_of(blocks_[id], begin);
      if (slots[id].size > 0) {
        matrix.own = at(memory, slots[id]);
        matrix.stride = matrix.rows;
      } else {
        matrix.borrowed = first(part);
        matrix.stride = panel(part).enter_stride;
      }
      matrices_.push_back(matrix);
    }
  }

  std::vector<std::int64_t> group_begin() const {
    const Partition& partition = layout_.partition();
    std::vector<std::int64_t> begin(static_cast<std::size_t>(partition.groups()) + 1, 0);
    for (const auto group : partition.group) ++begin[group + 1];
    for (std::size_t g = 1; g < begin.size(); ++g) begin[g] += begin[g - 1];
    return begin;
  }
  static Matrix<G> shape_of(const Block& block, const std::vector<std::int64_t>& begin) {
    Matrix<G> matrix;
    matrix.rows = block.rows;
    matrix.columns = block.columns;
    matrix.source = begin[block.source];
    matrix.target = begin[block.target];
    return matrix;
  }

  bool is_borrowed(const Part& part) const {
    return fills_block(part) && !matrices_[part.rectangle.block].own;
  }

  /// One launch for the first tensor of every block, and for all that fills none; one more for each
  /// further tensor between the same groups.
  void take_sums() {
    std::vector<Sums<Machine, G, Sum>> further;
    std::vector<std::vector<Part*>> further_parts;
    for (Part& part : parts_) {
      if (is_borrowed(part)) continue;
      if (!fills_block(part)) {
        part.sum = sums_.add(first(part), sum_axes(part));
        continue;
      }
      const auto id = part.rectangle.block;
      const auto& fillers = filled_by_[id];
      const auto turn = static_cast<std::size_t>(std::find(fillers.begin(), fillers.end(), &part) -
                                                 fillers.begin());
      while (further.size() < turn) {
        further.emplace_back(machine_);
        further_parts.emplace_back();
      }
      auto& sums = turn == 0 ? sums_ : further[turn - 1];
      part.sum =
          sums.add(first(part), axes(part, 0, blocks_[id].rows, 1), matrices_[id].own, turn > 0);
      if (turn > 0) further_parts[turn - 1].push_back(&part);
    }
    sums_.run();
    for (Part& part : parts_)
      if (!is_borrowed(part)) part.look = sums_.look(part.sum);
    for (std::size_t turn = 0; turn < further.size(); ++turn) {
      further[turn].run();
      for (Part* part : further_parts[turn]) part->look = further[turn].look(part->sum);
    }
    monitor_.advance(input_.rows);
  }

  PanelAxes sum_axes(const Part& part) const {
    switch (part.rectangle.sink) {
      case Sink::enter_only:
        return axes(part, 0, 1, 0);
      case Sink::leave_only:
        return axes(part, 0, 0, 1);
      case Sink::pairs:
        return pair_axes(part);
      default:
        return axes(part, 0, 0, 0);
    }
  }

  void inspect_borrowed() {
    std::vector<Wanted> wanted;
    std::vector<HalfSums> sums;
    for (std::size_t id = 0; id < blocks_.size(); ++id) {
      sums.push_back({std::vector<double>(static_cast<std::size_t>(blocks_[id].rows)),
                      std::vector<double>(static_cast<std::size_t>(blocks_[id].columns))});
      if (!matrices_[id].own) wanted.push_back({static_cast<std::int32_t>(id), true, true});
    }
    if (wanted.empty()) return;
    DeviceWeights<Machine, G> weights(machine_, matrices_, layout_.partition().group.size(),
                                      monitor_);
    const auto looks = weights.inspect(wanted, sums);
    for (std::size_t k = 0; k < wanted.size(); ++k) {
      const auto id = static_cast<std::size_t>(wanted[k].block);
      filled_by_[id].front()->look = looks[k];
      blocks_[id].row_sums = std::move(sums[id].left);
      blocks_[id].column_sums = std::move(sums[id].right);
    }
  }

  /// Positive entries, where there are others; false if some entry may not occur at all.
  bool take_counts() {
    for (Part& part : parts_) {
      if (part.look.usual) continue;
      part.enter_count =
          counts_.add(first(part), is_pairs(part) ? pair_axes(part) : axes(part, 0, 1, 0));
      if (!is_pairs(part)) part.leave_count = counts_.add(first(part), axes(part, 0, 0, 1));
    }
    counts_.run();
    return std::all_of(parts_.begin(), parts_.end(), [&](const Part& part) {
      return part.look.usual || counts_.look(part.enter_count).usual;
    });
  }

  void add(const Part& part) {
    const auto& p = panel(part);
    const auto &enters = part.rectangle.enters, &leaves = part.rectangle.leaves;
    if (is_pairs(part)) {
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
    const double* sums = fills_block(part) ? nullptr : sums_.result(part.sum);
    if (part.rectangle.sink == Sink::constant) ends_.add_constant(sums[0]);
    if (part.rectangle.sink == Sink::enter_only)
      for (std::int64_t e = 0; e < enters.size(); ++e)
        ends_.add_enter_only(p.entered[enters.begin + e], sums[e]);
    if (part.rectangle.sink == Sink::leave_only)
      for (std::int64_t l = 0; l < leaves.size(); ++l)
        ends_.add_leave_only(p.left[leaves.begin + l], sums[l]);
  }

  void add_pairs(const Part& part) {
    const auto& p = panel(part);
    const double* sums = sums_.result(part.sum);
    const double* counts = part.look.usual ? nullptr : counts_.result(part.enter_count);
    for (std::int64_t at = 0; at < p.batch * p.enters; ++at)
      for (std::int64_t l = 0; l < p.leaves; ++l) {
        const std::int64_t pair = at * p.leaves + l;
        const auto count = counts ? static_cast<std::int64_t>(counts[pair]) : p.depth();
        if (count > 0)
          ends_.add({p.entered[at], p.left[at / p.enters * p.leaves + l], count, sums[pair]});
      }
  }

  /// False where such a block has a companion on the device.
  bool add_pair_blocks() {
    const auto& begin = group_begin();
    const std::size_t filled = blocks_.size();
    for (Block& block : ends_.pair_blocks()) {
      for (std::size_t id = 0; id < filled; ++id)
        if (blocks_[id].source == block.source && blocks_[id].target == block.target) return false;
      matrices_.push_back(shape_of(block, begin));
      for (const double value : block.value) positive_ += value > 0;
      blocks_.push_back(std::move(block));
    }
    std::vector<Block*> blocks;
    std::vector<Matrix<G>*> matrices;
    for (std::size_t id = filled; id < blocks_.size(); ++id) {
      blocks.push_back(&blocks_[id]);
      matrices.push_back(&matrices_[id]);
    }
    upload_blocks(machine_, blocks, matrices);
    return true;
  }

  std::optional<Merged> finish() {
    count_weights();
    auto merged = ends_.finish(std::move(blocks_), positive_);
    if (!merged) return std::nullopt;
    const double scale = merged->blocks.blocks.empty() ? 1 : merged->blocks.blocks.front().scale;
    auto weights = std::make_unique<DeviceWeights<Machine, G>>(
        machine_, std::move(matrices_), layout_.partition().group.size(), monitor_);
    weights->scale_by(scale);
    return Merged{std::move(*merged), std::move(weights)};
  }

  /// Positive weights of the blocks that panels fill.
  void count_weights() {
    std::vector<std::size_t> counted;
    for (std::size_t id = 0; id < filled_by_.size(); ++id) {
      const auto& fillers = filled_by_[id];
      const bool usual = std::any_of(fillers.begin(), fillers.end(),
                                     [](const Part* part) { return part->look.usual; });
      if (usual) {
        positive_ += blocks_[id].stored();
      } else if (matrices_[id].own) {
        const Axis none{1, 0, 0};
        counted.push_back(weight_counts_.add(
            matrices_[id].own, {none, none, none, none, Axis{blocks_[id].stored(), 1, 0}}));
      } else {
        const double* entered = counts_.result(fillers.front()->enter_count);
        for (std::int32_t b = 0; b < blocks_[id].columns; ++b)
          positive_ += static_cast<std::int64_t>(entered[b]);
      }
    }
    weight_counts_.run();
    for (const auto sum : counted)
      positive_ += static_cast<std::int64_t>(weight_counts_.result(sum)[0]);
  }

  Machine& machine_;
  Monitor& monitor_;
  const Panels<G>& input_;
  PanelLayout<G> layout_;
  PanelEnds<G> ends_;
  std::vector<Part> parts_;
  std::vector<Block> blocks_;
  std::vector<std::vector<Part*>> filled_by_;  ///< of every block that panels fill
  std::vector<Matrix<G>> matrices_;
  Sums<Machine, G, Sum> sums_;
  Sums<Machine, G, Count> counts_;
  Sums<Machine, double, Count> weight_counts_;
  std::int64_t positive_ = 0;
};

}  // namespace pathcond::cuda
