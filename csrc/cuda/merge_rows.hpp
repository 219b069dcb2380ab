#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "core/panel_layout.hpp"
#include "core/partition.hpp"
#include "core/solve.hpp"
#include "cuda/device_weights.hpp"
#include "cuda/run_places.hpp"
#include "cuda/sorted_rows.hpp"

/// `merge_pairs` for B and g on a device, whatever the order of the rows.
///
/// Sorting decides: sums in the order of B need no floating-point atomics, and the pairs of a
/// network are too many for one accumulator each. With g in float32 a pass of the sort reads 8
/// bytes of every row, then 12, and writes these, for every 6 bits of (H + 1)^2: five passes for
/// ResNet-50. Any merge reads B and g, 14 bytes of a row with indices of 32 and values of 8 bits.
/// That is the limit, of which this one moves at least some fourteen times as much, and sums over
/// tensors, which are for networks as they come, move it once.
namespace pathcond::cuda {

template <class Machine, class G>
class RowMerge {
 public:
  /// The rows have been read; counts those that differ.
  RowMerge(Machine& machine, SortedRows<Machine, G>& rows, std::int64_t neurons, Method method,
           Monitor& monitor)
      : machine_(machine), rows_(rows), method_(method), monitor_(monitor) {
    const auto H = static_cast<std::size_t>(neurons);
    ends_.neurons = static_cast<std::int32_t>(neurons);
    ends_.rows = rows.size();
    ends_.log_scale = -std::log(rows.scale());
    ends_.degree.assign(H, 0.0);
    ends_.frozen.assign(H, 1);
    ends_.leave_only.assign(H, 0.0);
    ends_.enter_only.assign(H, 0.0);
    if (ends_.rows == 0) return;
    lay_out();
    count_runs();
    monitor_.advance(2 * ends_.rows);
  }

  /// Dense blocks between the groups of an arranged layout, whose weights stay where they are;
  /// nullopt where most weights would be empty, or they lie too far apart.
  std::optional<Merged> blocks_of(const PanelLayout<G>& layout) {
    if (!in_range() || layout.grouping().groups() > kMaxGroups || !layout.is_dense())
      return std::nullopt;
    grouping_ = layout.grouping();
    tell_places();
    take_table();
    lay_out_blocks(layout.partition());
    return sum_blocks(layout.partition());
  }

  /// The same between groups of twins; nullopt where neurons have too few neighbours in common, or
  /// weights lie too far apart.
  std::optional<Merged> blocks_of_twins() {
    if (!in_range()) return std::nullopt;
    find_twins();
    if (groups() <= kMaxGroups) {
      tell_places();
      take_table();
      find_arcs();
      const Partition parts = arrange_groups(grouping_);
      if (parts.groups() > 0) lay_out_blocks(parts);
      if (parts.groups() > 0 && filled()) return sum_blocks(parts);
      table_.give_back(machine_);
    }
    told_.give_back(machine_);
    return std::nullopt;
  }

  /// Where there are no blocks: the pairs, on the host.
  PairProblem pairs() {
    ends_.enter_ptr.assign(static_cast<std::size_t>(neurons()) + 1, 0);
    if (ends_.rows > 0) bring_pairs();
    for (std::int64_t h = 0; h < neurons(); ++h) ends_.enter_ptr[h + 1] += ends_.enter_ptr[h];
    return std::move(ends_);
  }

 private:
  std::int64_t neurons() const { return ends_.neurons; }
  std::int64_t groups() const { return grouping_.groups(); }
  bool in_range() const { return ends_.rows > 0 && rows_.usual(); }
  std::int64_t runs() const { return static_cast<std::int64_t>(found_.host(run_slot_)->runs); }

  void lay_out() {
    neuron_slot_ = found_.reserve<NeuronCensus>(neurons());
    run_slot_ = found_.reserve<RunCensus>(1);
    place_slot_ = told_.reserve<Place>(neurons());
    size_slot_ = told_.reserve<std::int32_t>(neurons());
    enter_slot_ = sums_.reserve<double>(neurons());
    leave_slot_ = sums_.reserve<double>(neurons());
    constant_slot_ = sums_.reserve<double>(1);
    seen_slot_ = sums_.reserve<Seen>(1);
    item_slot_ = sums_.reserve<Item>(1);
    const std::size_t bytes = found_.bytes() + told_.bytes() + sums_.bytes();
    auto* device = static_cast<unsigned char*>(machine_.device(bytes));
    auto* host = static_cast<unsigned char*>(machine_.host(bytes));
    for (Mirrored* region : {&found_, &told_, &sums_}) {
      region->place(device, host);
      device += region->bytes();
      host += region->bytes();
    }
  }

  void count_runs() {
    fill(machine_, found_.device(neuron_slot_), neurons(), NeuronCensus{});
    fill(machine_, found_.device(run_slot_), 1, RunCensus{});
    rows_.count_runs(found_.device(neuron_slot_), found_.device(run_slot_));
    found_.download(machine_);
    machine_.wait();
    for (std::int64_t h = 0; h < neurons(); ++h) {
      const NeuronCensus& neuron = found_.host(neuron_slot_)[h];
      ends_.degree[h] = static_cast<double>(neuron.left) - static_cast<double>(neuron.entered);
      ends_.frozen[h] = neuron.left + neuron.entered == 0;
    }
  }

  /// As `pathcond::partition` does.
  void find_twins() {
    std::vector<TwinKey> keys;
    for (std::int64_t h = 0; h < neurons(); ++h) {
      const auto& twin = found_.host(neuron_slot_)[h].twin;
      keys.push_back({twin[0], twin[1]});
    }
    grouping_ = Grouping(number_groups(keys));
  }

  void tell_places() {
    const auto& [place, size, arcs] = grouping_;
    std::copy(place.begin(), place.end(), told_.host(place_slot_));
    std::copy(size.begin(), size.end(), told_.host(size_slot_));
    told_.upload(machine_);
  }

  void take_table() {
    table_ = {};
    table_slot_ = table_.reserve<std::int64_t>(groups() * groups());
    table_.place(machine_.device(table_.bytes()), machine_.host(table_.bytes()));
  }

  /// From the first neurons of groups of twins alone: what one leaves to, all do.
  void find_arcs() {
    const std::int32_t count = grouping_.groups();
    fill(machine_, table_.device(table_slot_), groups() * groups(), std::int64_t{0});
    machine_.launch(rows_.tiles(), LinkGroupsKernel<G>{rows_.rows(), told_.device(place_slot_),
                                                       count, table_.device(table_slot_)});
    table_.download(machine_);
    machine_.wait();
    for (std::int32_t to = 0; to < count; ++to)
      for (std::int32_t from = 0; from < count; ++from)
        if (entry(to, from) != 0) grouping_.arcs.emplace_back(from, to);
  }

  std::int64_t& entry(std::int64_t to, std::int64_t from) const {
    return table_.host(table_slot_)[to * groups() + from];
  }

  /// In the order of `build_blocks`.
  void lay_out_blocks(const Partition& parts) {
    const auto position = grouping_.positions(parts);
    auto& arcs = grouping_.arcs;
    const auto order = [&](const auto& arc) {
      return std::pair(position[arc.second], position[arc.first]);
    };
    std::sort(arcs.begin(), arcs.end(),
              [&](const auto& a, const auto& b) { return order(a) < order(b); });
    blocks_.clear();
    stored_ = 0;
    for (const auto& [from, to] : arcs) {
      Block block;
      block.source = position[from];
      block.target = position[to];
      block.rows = grouping_.size[from];
      block.columns = grouping_.size[to];
      entry(to, from) = std::exchange(stored_, stored_ + block.stored());
      blocks_.push_back(std::move(block));
    }
  }

  /// Whether there are as many weights as the blocks have room for.
  bool filled() const {
    return static_cast<std::uint64_t>(stored_) == found_.host(run_slot_)->pairs;
  }

  std::optional<Merged> sum_blocks(const Partition& parts) {
    values_ =
        static_cast<double*>(machine_.device(static_cast<std::size_t>(stored_) * sizeof(double)));
    if (!filled()) fill(machine_, values_, stored_, 0.0);
    table_.upload(machine_);
    std::fill_n(sums_.host(enter_slot_), neurons(), 0.0);
    std::fill_n(sums_.host(leave_slot_), neurons(), 0.0);
    *sums_.host(constant_slot_) = 0;
    sum_runs(BlockPlaces{told_.device(place_slot_), table_.device(table_slot_),
                         told_.device(size_slot_), static_cast<std::int32_t>(groups()), values_,
                         sums_.device(enter_slot_), sums_.device(leave_slot_),
                         sums_.device(constant_slot_)});
    sums_.download(machine_);
    machine_.wait();
    ends_.enter_only.assign(sums_.host(enter_slot_), sums_.host(enter_slot_) + neurons());
    ends_.leave_only.assign(sums_.host(leave_slot_), sums_.host(leave_slot_) + neurons());
    ends_.constant = *sums_.host(constant_slot_);
    return finish(parts);
  }

  template <class Where>
  void sum_runs(const Where& where) {
    *sums_.host(item_slot_) = rows_.entry();
    sums_.upload(machine_);
    rows_.sum_runs(where, sums_.device(item_slot_), sums_.device(seen_slot_));
  }

  /// nullopt where weights lie too far apart.
  std::optional<Merged> finish(const Partition& parts) {
    const Seen& seen = *sums_.host(seen_slot_);
    std::vector<double> extremes{seen.smallest, seen.largest};
    PairProblem ends = ends_;
    const auto scale =
        normalise(ends.constant, ends.log_scale, {&extremes, &ends.enter_only, &ends.leave_only});
    if (!scale) return std::nullopt;
    const std::int64_t merged = runs();
    const bool all = filled();
    for (const Mirrored* region : {&found_, &told_, &sums_, &table_}) region->give_back(machine_);
    rows_.give_back();
    BlockProblem problem = without_blocks(ends, parts);
    std::vector<Matrix<double>> matrices;
    double* next = values_;
    for (Block& block : blocks_) {
      const auto id = static_cast<std::int32_t>(matrices.size());
      problem.in_blocks[block.target].push_back(id);
      problem.out_blocks[block.source].push_back(id);
      problem.stored += block.stored();
      block.scale = *scale;
      Matrix<double> matrix;
      matrix.rows = block.rows;
      matrix.columns = block.columns;
      matrix.source = problem.group_begin[block.source];
      matrix.target = problem.group_begin[block.target];
      matrix.scale = *scale;
      matrix.own = std::exchange(next, next + block.stored());
      matrix.stride = block.rows;
      matrices.push_back(matrix);
    }
    problem.blocks = std::move(blocks_);
    auto weights = std::make_unique<DeviceWeights<Machine, double>>(
        machine_, matrices, static_cast<std::size_t>(neurons()), monitor_);
    machine_.expect(weights->need(method_));
    weights->place(std::move(matrices));
    return Merged{{std::move(ends), std::move(problem), merged, all}, std::move(weights)};
  }

  void bring_pairs() {
    Mirrored list;
    const auto ends_slot = list.reserve<Ends>(runs());
    const auto weight_slot = list.reserve<double>(runs());
    list.place(machine_.device(list.bytes()), machine_.host(list.bytes()));
    sum_runs(ListPlaces{rows_.runs_before(), list.device(ends_slot), list.device(weight_slot)});
    list.download(machine_);
    machine_.wait();
    for (std::int64_t k = 0; k < runs(); ++k) {
      const auto [left, entered] = list.host(ends_slot)[k];
      const double weight = list.host(weight_slot)[k];
      if (left >= 0 && entered >= 0) {
        ++ends_.enter_ptr[entered + 1];
        ends_.leave.push_back(left);
        ends_.weight.push_back(weight);
      } else {
        (left >= 0      ? ends_.leave_only[left]
         : entered >= 0 ? ends_.enter_only[entered]
                        : ends_.constant) = weight;
      }
    }
  }

  Machine& machine_;
  SortedRows<Machine, G>& rows_;
  Method method_;
  Monitor& monitor_;
  PairProblem ends_;  ///< without its pairs, unless they come to the host
  Mirrored found_, told_, sums_, table_;
  Slot<NeuronCensus> neuron_slot_;
  Slot<RunCensus> run_slot_;
  Slot<Place> place_slot_;
  Slot<std::int32_t> size_slot_;
  Slot<double> enter_slot_, leave_slot_, constant_slot_;
  Slot<Seen> seen_slot_;
  Slot<Item> item_slot_;
  Slot<std::int64_t> table_slot_;  ///< see `LinkGroupsKernel`, then `BlockPlaces`
  Grouping grouping_;
  std::vector<Block> blocks_;
  std::int64_t stored_ = 0;  ///< weights that they have room for
  double* values_ = nullptr;
};

}  // namespace pathcond::cuda
