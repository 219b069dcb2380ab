#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <numeric>
#include <utility>
#include <vector>

#include "core/blocks.hpp"
#include "core/hash.hpp"
#include "core/panels.hpp"
#include "core/partition.hpp"

namespace pathcond {

/// Positions of one axis of a panel that run through a whole group in order, or through none.
struct Run {
  std::int64_t begin, end;
  std::int32_t group;

  std::int64_t size() const { return end - begin; }
};

/// What a rectangle of a panel, entries that enter one run and leave another, adds to.
enum class Sink { block, borrowed, enter_only, leave_only, constant, pairs };

struct Rectangle {
  std::size_t panel;
  Sink sink;
  Run enters{}, leaves{};
  std::size_t block = 0;
};

/// Which neurons stand in the same places of the same panels, how these groups follow each other,
/// and the rectangles into which the groups cut the panels.
template <class G>
class PanelLayout {
 public:
  explicit PanelLayout(const Panels<G>& input) : input_(input) {
    group_neurons();
    cut_rectangles();
  }

  /// Levels of groups; false if some group would depend on itself.
  bool arrange() {
    for (const Rectangle& rectangle : rectangles_) {
      const auto& p = panel(rectangle);
      if (rectangle.sink != Sink::pairs) {
        link(rectangle.leaves.group, rectangle.enters.group);
        continue;
      }
      for (std::int64_t k = 0; k < p.batch; ++k) {
        const auto left = groups_among(p.left + k * p.leaves, p.leaves);
        for (const auto& [e, enters] : groups_among(p.entered + k * p.enters, p.enters))
          for (const auto& [l, leaves] : left) {
            link(l, e);
            pairs_[{l, e}] += enters * leaves;
          }
      }
    }
    auto& arcs = grouping_.arcs;
    std::sort(arcs.begin(), arcs.end());
    arcs.erase(std::unique(arcs.begin(), arcs.end()), arcs.end());
    for (const auto& [source, target] : arcs)
      if (source == target) return false;
    partition_ = arrange_groups(grouping_);
    if (partition_.groups() == 0 && input_.neurons > 0) return false;
    position_ = grouping_.positions(partition_);
    return true;
  }

  const std::vector<Rectangle>& rectangles() const { return rectangles_; }
  /// Pairs of irregular tensors.
  std::int64_t pairs() const {
    return std::accumulate(pairs_.begin(), pairs_.end(), std::int64_t{0},
                           [](auto sum, const auto& entry) { return sum + entry.second; });
  }
  /// Whether there are any between two groups.
  bool has_pairs(std::int32_t source, std::int32_t target) const {
    return pairs_.contains({source, target});
  }
  /// Whether these are so many that their block is dense, whatever g is.
  bool has_dense_pairs(std::int32_t source, std::int32_t target) const {
    const auto cells = static_cast<double>(block_between(source, target).stored());
    return static_cast<double>(pairs_.at({source, target})) >= kDenseFill * cells;
  }
  /// Whether all blocks are dense.
  bool is_dense() const {
    auto sparse = pairs_;
    std::erase_if(sparse, [&](const auto& entry) {
      return has_dense_pairs(entry.first.first, entry.first.second);
    });
    for (const Rectangle& rectangle : rectangles_)
      if (rectangle.sink == Sink::block || rectangle.sink == Sink::borrowed)
        sparse.erase({rectangle.leaves.group, rectangle.enters.group});
    return sparse.empty();
  }
  const Grouping& grouping() const { return grouping_; }
  const Partition& partition() const { return partition_; }
  /// No group stands for the scale 1.
  Place place(std::int32_t id) const {
    return id < 0 ? Place{-1, 0} : grouping_.place[static_cast<std::size_t>(id)];
  }
  Block block_between(std::int32_t source, std::int32_t target) const {
    Block block;
    block.source = position(source);
    block.target = position(target);
    block.rows = grouping_.size[static_cast<std::size_t>(source)];
    block.columns = grouping_.size[static_cast<std::size_t>(target)];
    return block;
  }

 private:
  /// Below this many entries per rectangle, pairs are collected one by one.
  static constexpr std::int64_t kSmallRectangle = 64;

  const Panel<G>& panel(const Rectangle& rectangle) const { return input_.panels[rectangle.panel]; }

  /// Neurons that appear in the same places of the same panels form a group.
  void group_neurons() {
    std::vector<std::uint64_t> key(static_cast<std::size_t>(input_.neurons), 0);
    for (std::size_t t = 0; t < input_.panels.size(); ++t) {
      const auto& p = input_.panels[t];
      const auto name = [&](const std::int32_t* ids, std::int64_t n, std::uint64_t role) {
        for (std::int64_t k = 0; k < n; ++k)
          if (ids[k] >= 0) key[static_cast<std::size_t>(ids[k])] += hash_bits(2 * t + role);
      };
      name(p.entered, p.batch * p.enters, 0);
      name(p.left, p.batch * p.leaves, 1);
    }
    grouping_ = Grouping(number_groups(key));
  }

  /// Runs of one axis; empty if it does not go through whole groups in order.
  std::vector<Run> runs(const std::int32_t* ids, std::int64_t n) const {
    std::vector<Run> found;
    for (std::int64_t k = 0; k < n;) {
      const Place first = place(ids[k]);
      std::int64_t end = k + 1;
      if (first.group < 0) {
        while (end < n && ids[end] < 0) ++end;
      } else {
        const std::int64_t size = grouping_.size[static_cast<std::size_t>(first.group)];
        if (first.neuron != 0 || k + size > n) return {};
        for (; end < k + size; ++end) {
          const Place other = place(ids[end]);
          if (other.group != first.group || other.neuron != end - k) return {};
        }
      }
      found.push_back({k, end, first.group});
      k = end;
    }
    return found;
  }

  void cut_rectangles() {
    for (std::size_t t = 0; t < input_.panels.size(); ++t) {
      const auto& p = input_.panels[t];
      if (p.batch * p.enters * p.leaves * p.depth() == 0) continue;
      std::vector<Run> enters, leaves;
      if (p.batch == 1) {
        enters = runs(p.entered, p.enters);
        leaves = runs(p.left, p.leaves);
      }
      const std::int64_t count = std::ssize(enters) * std::ssize(leaves);
      const bool single = count == 1;
      if (count == 0 || (!single && p.enters * p.leaves < kSmallRectangle * count)) {
        rectangles_.push_back({t, Sink::pairs});
        continue;
      }
      for (const Run& e : enters)
        for (const Run& l : leaves) rectangles_.push_back({t, sink(p, e, l), e, l});
    }
  }

  Sink sink(const Panel<G>& p, const Run& e, const Run& l) const {
    if (e.group < 0) return l.group < 0 ? Sink::constant : Sink::leave_only;
    if (l.group < 0) return Sink::enter_only;
    return p.depth() == 1 && (p.leave_stride == 1 || l.size() == 1) ? Sink::borrowed : Sink::block;
  }

  void link(std::int32_t source, std::int32_t target) {
    if (source < 0 || target < 0) return;
    auto& arcs = grouping_.arcs;
    if (arcs.empty() || arcs.back() != std::pair{source, target}) arcs.emplace_back(source, target);
  }

  /// With the number of ids in each.
  std::map<std::int32_t, std::int64_t> groups_among(const std::int32_t* ids, std::int64_t n) const {
    std::map<std::int32_t, std::int64_t> found;
    for (std::int64_t k = 0; k < n; ++k)
      if (ids[k] >= 0) ++found[place(ids[k]).group];
    return found;
  }

  std::int32_t position(std::int32_t group) const {
    return position_[static_cast<std::size_t>(group)];
  }

  const Panels<G>& input_;
  Grouping grouping_;
  Partition partition_;
  std::vector<std::int32_t> position_;
  std::vector<Rectangle> rectangles_;
  std::map<std::pair<std::int32_t, std::int32_t>, std::int64_t> pairs_;  ///< between two groups
};

}  // namespace pathcond
