#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "core/panels.hpp"
#include "cuda/ends.hpp"
#include "cuda/memory.hpp"
#include "cuda/work_list.hpp"

/// The rows of a network's tensors one by one, where their sums do not serve.
namespace pathcond::cuda {

/// A tensor in the work list of a launch; the neurons that it enters and leaves are there too.
template <class G>
struct PanelRows {
  Panel<G> panel;
  std::int64_t first = 0, size = 0;  ///< its rows
  std::int64_t tiles = 0, first_tile = 0;
};

/// Writes every row, and its g, to its place. A row that enters the neuron it leaves does neither.
template <class G>
struct PanelRowsKernel {
  struct Shared {};

  const PanelRows<G>* panels;
  int count;
  Ends* rows;
  G* g;

  template <class Lane>
  PATHCOND_KERNEL void operator()(const Lane& lane, Shared&) const {
    const PanelRows<G>& all = entry_of(panels, count, lane.block());
    const Panel<G>& p = all.panel;
    const std::int64_t tile = lane.block() - all.first_tile, begin = tile * kEndsTile;
    const auto read = [&](int i) {
      std::int64_t rest = begin + i;
      const auto take = [&rest](std::int64_t size) {
        const std::int64_t at = rest % size;
        rest /= size;
        return at;
      };
      const std::int64_t r = take(p.taps), s = take(p.repeats), l = take(p.leaves),
                         e = take(p.enters), k = rest;
      const Ends ends{p.left[k * p.leaves + l], p.entered[k * p.enters + e]};
      const std::int64_t at = k * p.batch_stride + e * p.enter_stride + l * p.leave_stride +
                              s * p.repeat_stride + r * p.tap_stride;
      return Row<G>{ends.left == ends.entered ? Ends{} : ends, p.g[at]};
    };
    lane.for_each_read(entries_of_tile(tile, kEndsTile, all.size), read,
                       [&](int i, const Row<G>& row) {
                         rows[all.first + begin + i] = row.ends;
                         g[all.first + begin + i] = row.g;
                       });
  }
};

/// The work list of all tensors, and what it points to, on their way to a machine.
template <class G>
class PanelList {
 public:
  explicit PanelList(const Panels<G>& input) {
    std::int64_t first = 0, ids = 0;
    for (const Panel<G>& p : input.panels) {
      const std::int64_t size = p.batch * p.enters * p.leaves * p.depth();
      if (size > 0) list_.push_back({p, first, size, tiles_of(size, kEndsTile), 0});
      first += size;
      ids += p.batch * (p.enters + p.leaves);
    }
    tiles_ = number_tiles(list_);
    list_slot_ = up_.reserve<PanelRows<G>>(std::ssize(list_));
    id_slot_ = up_.reserve<std::int32_t>(ids);
  }

  std::size_t bytes() const { return up_.bytes(); }

  /// Takes `bytes()` of either memory.
  template <class Machine>
  void write(Machine& machine, Ends* rows, G* g) {
    up_.place(machine.device(bytes()), machine.host(bytes()));
    std::int64_t next = 0;
    const auto tell = [&](const std::int32_t*& ids, std::int64_t size) {
      std::copy_n(ids, size, up_.host(id_slot_) + next);
      ids = up_.device(id_slot_) + next;
      next += size;
    };
    for (PanelRows<G>& rows_of : list_) {
      Panel<G>& p = rows_of.panel;
      tell(p.entered, p.batch * p.enters);
      tell(p.left, p.batch * p.leaves);
    }
    std::copy(list_.begin(), list_.end(), up_.host(list_slot_));
    up_.upload(machine);
    machine.launch(tiles_, PanelRowsKernel<G>{up_.device(list_slot_),
                                              static_cast<int>(list_.size()), rows, g});
  }
  template <class Machine>
  void give_back(Machine& machine) const {
    up_.give_back(machine);
  }

 private:
  std::vector<PanelRows<G>> list_;
  std::int64_t tiles_ = 0;
  Mirrored up_;
  Slot<PanelRows<G>> list_slot_;
  Slot<std::int32_t> id_slot_;
};

}  // namespace pathcond::cuda
