#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "core/blocks.hpp"
#include "core/coarse.hpp"
#include "cuda/memory.hpp"
#include "cuda/sweep_end.hpp"

namespace pathcond::cuda {

/// The coarse step of a problem on a device: what its launches are told, and where they work.
class DeviceCoarse {
 public:
  /// Both outlive this.
  DeviceCoarse(const BlockProblem& problem, const CoarseShape& shape)
      : problem_(problem), shape_(shape) {}

  /// `tables` never change, what is `inside` is never seen by the host.
  void reserve(Mirrored& tables, Region& inside) {
    const std::int64_t n = shape_.groups();
    numbers_ = tables.reserve<std::int32_t>(std::ssize(shape_.numbers()));
    ptr_ = tables.reserve<std::int32_t>(n + 1);
    groups_ = tables.reserve<std::int32_t>(problem_.groups());
    share_ = tables.reserve<double>(n);
    moved_ = tables.reserve<Moved>(problem_.groups() + 2 * std::ssize(problem_.blocks));
    sums_ = inside.reserve<double>(2 * n);
    shift_ = inside.reserve<double>(2 * n);
    room_ = inside.reserve<double>(CoarseRoom::size(n, shape_.links(), shape_.entries()));
  }

  /// Once the tables have memory. `state` tells where half-sums are.
  template <class State>
  void tell(const Mirrored& tables, const State& state) {
    std::copy(shape_.numbers().begin(), shape_.numbers().end(), tables.host(numbers_));
    std::vector<std::vector<std::int32_t>> groups(static_cast<std::size_t>(shape_.groups()));
    std::vector<Moved> moved;
    const auto move = [&](Moved::Kind kind, std::int32_t group, std::int64_t first,
                          std::int64_t size) {
      moved.push_back({kind, problem_.coarse[group], first, size, tiles_of(size, kSweepTile), 0});
    };
    double* share = tables.host(share_);
    std::fill_n(share, shape_.groups(), 0.0);
    for (std::int32_t g = 0; g < problem_.groups(); ++g) {
      const auto begin = problem_.group_begin[g], end = problem_.group_begin[g + 1];
      groups[problem_.coarse[g]].push_back(g);
      for (auto k = begin; k < end; ++k)
        share[problem_.coarse[g]] += problem_.degree[k] / problem_.rows;
      move(Moved::Kind::neurons, g, begin, end - begin);
    }
    for (std::size_t id = 0; id < problem_.blocks.size(); ++id) {
      const Block& block = problem_.blocks[id];
      move(Moved::Kind::shrinks, block.target, state.half_at(id).left, block.rows);
      move(Moved::Kind::grows, block.source, state.half_at(id).right, block.columns);
    }
    tiles_ = number_tiles(moved);
    std::copy(moved.begin(), moved.end(), tables.host(moved_));
    std::int32_t next = 0;
    for (std::size_t c = 0; c < groups.size(); ++c) {
      tables.host(ptr_)[c] = next;
      for (const auto g : groups[c]) tables.host(groups_)[next++] = g;
    }
    tables.host(ptr_)[groups.size()] = next;
  }

  /// `sums`: see `TotalKernel`; `steps`: of the plan.
  template <class Recording, class State>
  void record(Recording& recording, const Mirrored& tables, void* inside, const double* sums,
              const State& state, std::int64_t steps) const {
    const std::int64_t n = shape_.groups();
    double *leave = at(inside, sums_), *shift = at(inside, shift_);
    const CoarseRoom room = CoarseRoom::in(at(inside, room_), n, shape_.links(), shape_.entries());
    recording.launch(1, CoarseKernel{shape_.tables(tables.device(numbers_)), tables.device(ptr_),
                                     tables.device(groups_), problem_.groups(), sums,
                                     state.constant(), tables.device(share_), room, leave,
                                     leave + n, shift, shift + n, steps, state.progress()});
    recording.launch(tiles_, ShiftKernel{tables.device(moved_), static_cast<int>(moved_.size),
                                         shift, shift + n, state.u(), state.x(), state.y(),
                                         state.half(), steps, state.progress()});
  }

 private:
  const BlockProblem& problem_;
  const CoarseShape& shape_;
  std::int64_t tiles_ = 0;
  Slot<std::int32_t> numbers_, ptr_, groups_;
  Slot<double> share_, sums_, shift_, room_;
  Slot<Moved> moved_;
};

}  // namespace pathcond::cuda
