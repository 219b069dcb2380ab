#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <iterator>
#include <vector>

#include "cuda/collapse.hpp"

/// How sums are cut into tiles, decided by sizes and strides alone.
namespace pathcond::cuda {

/// k, e, l, s, r of a panel.
using PanelAxes = std::array<Axis, 5>;

/// Whether long sums may be cut into pieces, which are then sums to be added up in another launch.
enum class Cut { into_pieces, never };

/// The task that sums over the axes with `to` 0; `to` of the others numbers the outputs without
/// gaps. Pointers and first tile are yet to be set.
template <class T>
Collapse<T> plan(const PanelAxes& axes, Cut cut = Cut::into_pieces) {
  Collapse<T> task;
  std::vector<Axis> rest;
  for (const Axis& axis : nest(axes))
    if (axis.size > 1) rest.push_back(axis);
  const auto take_innermost = [&](bool kept) {
    for (auto axis = rest.rbegin(); axis != rest.rend(); ++axis)
      if ((axis->to != 0) == kept) {
        const Axis found = *axis;
        rest.erase(std::next(axis).base());
        return found;
      }
    return Axis{1, 0, 0};
  };
  task.kept_first = !rest.empty() && rest.back().to != 0;
  task.kept = take_innermost(true);
  task.summed = take_innermost(false);
  std::copy(rest.begin(), rest.end(), task.outer);

  const auto within = [](std::int64_t size, std::int64_t most) {
    return static_cast<std::int32_t>(std::clamp<std::int64_t>(size, 1, most));
  };
  if (task.kept_first) {
    task.count = within(task.kept.size, kThreads);
    task.width = within(task.summed.size, kTileEntries / task.count);
  } else {
    task.width = within(task.summed.size, kTileEntries - 1);
    task.count =
        within(std::min<std::int64_t>(task.kept.size, kTileEntries / (task.width | 1)), kTileSums);
  }
  task.parts = within(kThreads / task.count, task.width);
  task.range = cut == Cut::into_pieces ? task.width : task.summed.size;
  task.pieces = (task.summed.size + task.range - 1) / task.range;
  task.tiles = task.pieces * ((task.kept.size + task.count - 1) / task.count);
  task.outputs = task.kept.size;
  for (const Axis& axis : rest)
    if (axis.to != 0) {
      task.tiles *= axis.size;
      task.outputs *= axis.size;
    }
  return task;
}

/// Adds up the pieces of a task's outputs.
inline Collapse<double> plan_pieces(std::int64_t outputs, std::int64_t pieces, Cut cut) {
  return plan<double>(
      {Axis{1, 0, 0}, Axis{1, 0, 0}, Axis{1, 0, 0}, Axis{pieces, outputs, 0}, Axis{outputs, 1, 1}},
      cut);
}

}  // namespace pathcond::cuda
