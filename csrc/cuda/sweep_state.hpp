#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "core/blocks.hpp"
#include "core/weights.hpp"
#include "cuda/matrix.hpp"
#include "cuda/memory.hpp"
#include "cuda/sweep_end.hpp"

namespace pathcond::cuda {

/// A point on a device while sweeps move it: sent in one copy, brought in one, and of every sweep
/// the host is told a few numbers.
template <class Machine, class G>
class SweepState {
 public:
  /// Half-sums of a block, left before right.
  struct Place {
    std::int64_t left, right;
  };

  /// Both outlive this.
  SweepState(const std::vector<Matrix<G>>& matrices, const BlockProblem& problem)
      : matrices_(matrices), problem_(problem) {
    for (const Block& block : problem.blocks) {
      half_at_.push_back({halves_, halves_ + block.rows});
      halves_ += block.rows + block.columns;
    }
    const auto H = std::ssize(problem.order);
    matrix_ = memory_.reserve<Matrix<G>>(std::ssize(matrices));
    constant_ = memory_.reserve<double>(1);
    for (auto* slot : {&leave_only_, &enter_only_, &base_, &u_, &x_, &y_})
      *slot = memory_.reserve<double>(H);
    half_ = memory_.reserve<double>(halves_);
    progress_ = memory_.reserve<SweepProgress>(1);
    // What is sent ends here.
    end_ = memory_.reserve<SweepEnd>(1);
    before_ = memory_.reserve<double>(H);
  }

  /// Of either memory that `place` takes.
  std::size_t bytes() const { return memory_.bytes(); }
  void place(void* device, void* host) { memory_.place(device, host); }

  const Matrix<G>* matrices() const { return memory_.device(matrix_); }
  const double* constant() const { return memory_.device(constant_); }
  const double* leave_only() const { return memory_.device(leave_only_); }
  const double* enter_only() const { return memory_.device(enter_only_); }
  const double* base() const { return memory_.device(base_); }
  double* u() const { return memory_.device(u_); }
  double* x() const { return memory_.device(x_); }
  double* y() const { return memory_.device(y_); }
  double* half() const { return memory_.device(half_); }
  double* before() const { return memory_.device(before_); }
  SweepProgress* progress() const { return memory_.device(progress_); }
  SweepEnd* end() const { return memory_.device(end_); }
  /// Places among all half-sums.
  const Place& half_at(std::size_t block) const { return half_at_[block]; }
  std::int64_t halves() const { return halves_; }

  void send(Machine& machine, const SweepPoint& point) {
    put(matrices_, matrix_);
    *memory_.host(constant_) = problem_.constant;
    put(problem_.leave_only, leave_only_);
    put(problem_.enter_only, enter_only_);
    put(point.base, base_);
    put(point.u, u_);
    put(point.x, x_);
    put(point.y, y_);
    for (std::size_t id = 0; id < half_at_.size(); ++id) {
      std::copy(point.half[id].left.begin(), point.half[id].left.end(), left(id));
      std::copy(point.half[id].right.begin(), point.half[id].right.end(), right(id));
    }
    *memory_.host(progress_) = {point.total, 0, 0, 0};
    machine.upload(memory_.device(matrix_), memory_.host(matrix_), end_.offset);
  }

  /// What the last sweep has come to; waits for it.
  Swept result(Machine& machine) const {
    machine.download(memory_.host(progress_), progress(), before_.offset - progress_.offset);
    machine.wait();
    const SweepProgress& progress = *memory_.host(progress_);
    const SweepEnd& end = *memory_.host(end_);
    return {static_cast<std::size_t>(progress.steps),
            progress.total,
            progress.gradient_norm,
            progress.change,
            end.linear,
            end.size,
            end.farthest,
            end.largest};
  }

  void bring(Machine& machine, const SweepPoint& point, std::vector<double>& u_before) const {
    machine.download(memory_.host(u_), u(), memory_.bytes() - u_.offset);
    machine.wait();
    take(u_, point.u);
    take(x_, point.x);
    take(y_, point.y);
    take(before_, u_before);
    for (std::size_t id = 0; id < half_at_.size(); ++id) {
      std::copy_n(left(id), point.half[id].left.size(), point.half[id].left.begin());
      std::copy_n(right(id), point.half[id].right.size(), point.half[id].right.begin());
    }
  }

 private:
  template <class T>
  void put(const std::vector<T>& from, Slot<T> to) {
    std::copy(from.begin(), from.end(), memory_.host(to));
  }
  void take(Slot<double> from, std::vector<double>& to) const {
    to.assign(memory_.host(from), memory_.host(from) + from.size);
  }
  double* left(std::size_t block) const { return memory_.host(half_) + half_at_[block].left; }
  double* right(std::size_t block) const { return memory_.host(half_) + half_at_[block].right; }

  const std::vector<Matrix<G>>& matrices_;
  const BlockProblem& problem_;
  std::vector<Place> half_at_;
  std::int64_t halves_ = 0;
  Mirrored memory_;
  Slot<Matrix<G>> matrix_;
  Slot<double> constant_, leave_only_, enter_only_, base_, u_, x_, y_, half_, before_;
  Slot<SweepProgress> progress_;
  Slot<SweepEnd> end_;
};

}  // namespace pathcond::cuda
