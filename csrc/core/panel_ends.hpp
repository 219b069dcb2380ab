#pragma once

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "core/accumulate.hpp"
#include "core/panel_layout.hpp"

namespace pathcond {

/// One positive sum of the entries between two channels.
struct Pair {
  std::int32_t entered, left;
  std::int64_t count;  ///< rows of B with g > 0
  double weight;
};

/// What a merge of panels puts together neuron by neuron: numbers of rows, weights that only enter
/// or leave, pairs of irregular tensors. Blocks are filled by whoever reads g.
template <class G>
class PanelEnds {
 public:
  /// Both outlive this.
  PanelEnds(const Panels<G>& input, const PanelLayout<G>& layout) : input_(input), layout_(layout) {
    const auto H = static_cast<std::size_t>(input.neurons);
    ends_.neurons = input.neurons;
    ends_.degree.assign(H, 0.0);
    ends_.frozen.assign(H, 1);
    ends_.leave_only.assign(H, 0.0);
    ends_.enter_only.assign(H, 0.0);
  }

  /// Rows with g > 0.
  void add_rows(std::int64_t rows) { ends_.rows += rows; }
  /// So many of them enter or leave this neuron, -1 standing for none.
  void enter(std::int32_t id, std::int64_t rows) { touch(id, rows, -1); }
  void leave(std::int32_t id, std::int64_t rows) { touch(id, rows, 1); }
  /// Bounds of positive entries; `usual` is not looked at.
  void see(const Look& look) { seen_.add(look); }

  /// Entries of a panel that enter one run and leave another, all of them positive.
  void add_usual(const Panel<G>& panel, const Run& enters, const Run& leaves, const Look& look) {
    see(look);
    const std::int64_t each = panel.depth() * panel.multiplicity;
    const std::int64_t of_enter = leaves.size() * each, of_leave = enters.size() * each;
    add_rows(enters.size() * of_enter);
    for (auto k = enters.begin; k < enters.end; ++k) enter(panel.entered[k], of_enter);
    for (auto k = leaves.begin; k < leaves.end; ++k) leave(panel.left[k], of_leave);
  }

  void add_constant(double weight) { ends_.constant += weight; }
  void add_enter_only(std::int32_t id, double weight) {
    ends_.enter_only[static_cast<std::size_t>(id)] += weight;
  }
  void add_leave_only(std::int32_t id, double weight) {
    ends_.leave_only[static_cast<std::size_t>(id)] += weight;
  }

  void add(const Pair& pair) {
    add_rows(pair.count);
    see({pair.weight, pair.weight, true});
    if (pair.entered == pair.left) {
      add_constant(pair.weight);
      return;
    }
    enter(pair.entered, pair.count);
    leave(pair.left, pair.count);
    if (pair.entered < 0) {
      add_leave_only(pair.left, pair.weight);
    } else if (pair.left < 0) {
      add_enter_only(pair.entered, pair.weight);
    } else {
      const Place source = layout_.place(pair.left), target = layout_.place(pair.entered);
      auto& list = pairs_[{source.group, target.group}];
      list.push_back({target.neuron, source.neuron, pair.count, pair.weight});
    }
  }

  bool all_positive() const { return ends_.rows == input_.rows; }
  bool any_pairs() const { return !pairs_.empty(); }

  /// The pairs of every two groups as a block.
  std::vector<Block> pair_blocks() {
    std::vector<Block> blocks;
    for (auto& [groups, list] : pairs_) {
      join_equal(list);
      blocks.push_back(block_of(groups.first, groups.second, list));
    }
    return blocks;
  }

  /// The problem with these blocks, of whose values so many are positive; nullopt where weights lie
  /// too far apart. Called last.
  std::optional<MergedPanels> finish(std::vector<Block> blocks, std::int64_t positive) {
    if (ends_.rows > 0 && !normalise(blocks)) return std::nullopt;
    BlockProblem problem = without_blocks(ends_, layout_.partition());
    std::int64_t merged = positive + (ends_.constant > 0);
    for (std::size_t h = 0; h < ends_.leave_only.size(); ++h)
      merged += (ends_.leave_only[h] > 0) + (ends_.enter_only[h] > 0);
    for (std::size_t id = 0; id < blocks.size(); ++id) {
      problem.in_blocks[static_cast<std::size_t>(blocks[id].target)].push_back(
          static_cast<std::int32_t>(id));
      problem.out_blocks[static_cast<std::size_t>(blocks[id].source)].push_back(
          static_cast<std::int32_t>(id));
      problem.stored += blocks[id].stored();
    }
    problem.blocks = std::move(blocks);
    const bool filled = positive == problem.stored;
    return MergedPanels{std::move(ends_), std::move(problem), merged, filled};
  }

 private:
  /// Weights are scaled where they are summed: within, no sum of theirs, times the e^(+-150) that
  /// they may be multiplied with before, leaves the range of doubles.
  static constexpr double kSmallestTotal = 1e-220, kLargestTotal = 1e220;

  void touch(std::int32_t id, std::int64_t rows, int sign) {
    if (id < 0 || rows == 0) return;
    ends_.degree[static_cast<std::size_t>(id)] += sign * static_cast<double>(rows);
    ends_.frozen[static_cast<std::size_t>(id)] = 0;
  }

  /// By target, then by source; equal rows of several tensors become one.
  static void join_equal(std::vector<Pair>& list) {
    const auto key = [](const Pair& pair) { return std::pair(pair.entered, pair.left); };
    const auto before = [&](const Pair& a, const Pair& b) { return key(a) < key(b); };
    if (!std::is_sorted(list.begin(), list.end(), before))
      std::stable_sort(list.begin(), list.end(), before);
    auto last = list.begin();
    for (auto next = last; next != list.end(); ++next) {
      if (next == last) continue;
      if (key(*next) == key(*last))
        last->weight += next->weight;
      else
        *++last = *next;
    }
    if (!list.empty()) list.erase(last + 1, list.end());
  }

  Block block_of(std::int32_t source, std::int32_t target, const std::vector<Pair>& list) const {
    Block block = layout_.block_between(source, target);
    if (layout_.has_dense_pairs(source, target)) {
      block.value.assign(static_cast<std::size_t>(block.stored()), 0.0);
      for (const Pair& pair : list)
        block.value[static_cast<std::size_t>(pair.entered) * block.rows + pair.left] += pair.weight;
      return block;
    }
    block.ptr.assign(static_cast<std::size_t>(block.columns) + 1, 0);
    for (const Pair& pair : list) ++block.ptr[static_cast<std::size_t>(pair.entered) + 1];
    for (std::int32_t b = 0; b < block.columns; ++b) block.ptr[b + 1] += block.ptr[b];
    block.index.resize(list.size());
    block.value.resize(list.size());
    auto next = block.ptr;
    for (const Pair& pair : list) {
      const auto at = static_cast<std::size_t>(next[static_cast<std::size_t>(pair.entered)]++);
      block.index[at] = pair.left;
      block.value[at] = pair.weight;
    }
    return block;
  }

  /// Makes the largest weight about 1; false where sums left the range, or weights lie too far
  /// apart.
  bool normalise(std::vector<Block>& blocks) {
    // No sum is below the smallest entry, nor above the largest one times their number.
    std::vector<double> extremes{seen_.smallest, seen_.largest * static_cast<double>(ends_.rows)};
    if (!(extremes[1] >= kSmallestTotal && extremes[1] <= kLargestTotal)) return false;
    const auto scale = pathcond::normalise(ends_.constant, ends_.log_scale,
                                           {&extremes, &ends_.leave_only, &ends_.enter_only});
    if (!scale) return false;
    for (Block& block : blocks) block.scale = *scale;
    return true;
  }

  const Panels<G>& input_;
  const PanelLayout<G>& layout_;
  PairProblem ends_;
  Look seen_;
  std::map<std::pair<std::int32_t, std::int32_t>, std::vector<Pair>> pairs_;
};

}  // namespace pathcond
