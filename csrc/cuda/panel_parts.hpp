#pragma once

#include <cstdint>
#include <map>
#include <utility>
#include <vector>

#include "core/panel_layout.hpp"
#include "cuda/collapse_plan.hpp"
#include "cuda/matrix.hpp"

namespace pathcond::cuda {

/// A rectangle of a panel, and what becomes known of it.
struct Part {
  Rectangle rectangle;
  Look look{};
  std::size_t turn = 0;                                   ///< among the parts added up in one block
  std::size_t sum = 0, enter_count = 0, leave_count = 0;  ///< numbers of sums

  bool is_pairs() const { return rectangle.sink == Sink::pairs; }
  bool fills_block() const {
    return rectangle.sink == Sink::block || rectangle.sink == Sink::borrowed;
  }
};

/// The rectangles of all panels where they lie, and the blocks that they fill.
template <class G>
class PanelParts {
 public:
  /// Both outlive this; the layout is arranged.
  PanelParts(const Panels<G>& input, const PanelLayout<G>& layout)
      : input_(input), layout_(layout) {
    for (const Rectangle& rectangle : layout.rectangles()) list.push_back({rectangle});
    group_blocks();
    const Partition& partition = layout.partition();
    group_begin_.assign(static_cast<std::size_t>(partition.groups()) + 1, 0);
    for (const auto group : partition.group) ++group_begin_[group + 1];
    for (std::size_t g = 1; g < group_begin_.size(); ++g) group_begin_[g] += group_begin_[g - 1];
  }
  PanelParts(const PanelParts&) = delete;
  PanelParts& operator=(const PanelParts&) = delete;

  std::vector<Part> list;
  std::vector<Block> blocks;                   ///< between groups, without values
  std::vector<std::vector<Part*>> fillers_of;  ///< of every block, the parts added up in it
  std::vector<char> beside_pairs;              ///< of every block, whether pairs come to it as well

  const Panel<G>& panel(const Part& part) const { return input_.panels[part.rectangle.panel]; }

  /// The first entry of a part.
  const G* first(const Part& part) const {
    const auto& p = panel(part);
    return p.g + part.rectangle.enters.begin * p.enter_stride +
           part.rectangle.leaves.begin * p.leave_stride;
  }

  /// Axes of a part: k, e, l with these strides in the sums.
  PanelAxes axes(const Part& part, std::int64_t k, std::int64_t e, std::int64_t l) const {
    const auto& p = panel(part);
    const auto &enters = part.rectangle.enters, &leaves = part.rectangle.leaves;
    return {Axis{p.batch, p.batch_stride, k},
            Axis{part.is_pairs() ? p.enters : enters.size(), p.enter_stride, e},
            Axis{part.is_pairs() ? p.leaves : leaves.size(), p.leave_stride, l},
            Axis{p.repeats, p.repeat_stride, 0}, Axis{p.taps, p.tap_stride, 0}};
  }
  PanelAxes pair_axes(const Part& part) const {
    const auto& p = panel(part);
    return axes(part, p.enters * p.leaves, p.leaves, 1);
  }
  /// Of the sums that a part adds to.
  PanelAxes sum_axes(const Part& part) const {
    switch (part.rectangle.sink) {
      case Sink::block:
      case Sink::borrowed:
        return axes(part, 0, blocks[part.rectangle.block].rows, 1);
      case Sink::enter_only:
        return axes(part, 0, 1, 0);
      case Sink::leave_only:
        return axes(part, 0, 0, 1);
      case Sink::constant:
        return axes(part, 0, 0, 0);
      case Sink::pairs:
        break;
    }
    return pair_axes(part);
  }

  /// A matrix of a block's shape, without values.
  Matrix<G> shape_of(const Block& block) const {
    Matrix<G> matrix;
    matrix.rows = block.rows;
    matrix.columns = block.columns;
    matrix.source = group_begin_[block.source];
    matrix.target = group_begin_[block.target];
    return matrix;
  }

 private:
  void group_blocks() {
    std::map<std::pair<std::int32_t, std::int32_t>, std::size_t> known;
    for (Part& part : list) {
      if (!part.fills_block()) continue;
      const auto source = part.rectangle.leaves.group, target = part.rectangle.enters.group;
      const auto [at, fresh] = known.try_emplace({source, target}, blocks.size());
      part.rectangle.block = at->second;
      if (fresh) {
        blocks.push_back(layout_.block_between(source, target));
        fillers_of.emplace_back();
        beside_pairs.push_back(layout_.has_pairs(source, target));
      }
      fillers_of[at->second].push_back(&part);
    }
  }

  const Panels<G>& input_;
  const PanelLayout<G>& layout_;
  std::vector<std::int64_t> group_begin_;
};

}  // namespace pathcond::cuda
