#pragma once

#include <cmath>
#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

#include "pathcond/solve.hpp"

namespace pathcond {

/// What the sweeps tell the caller. Methods work with F/p of scaled weights; here it becomes F, or
/// sum_i g_i exp((Bu)_i) where F has no linear term.
class Progress {
 public:
  using Callback = decltype(Options::callback);

  Progress(double rows, double log_scale, bool linear, std::int64_t max_sweeps, Callback callback)
      : rows_(rows),
        log_scale_(log_scale),
        linear_(linear),
        max_sweeps_(max_sweeps),
        callback_(std::move(callback)) {}

  void start(double objective) { history_.assign(1, unscale(objective)); }

  /// One sweep is done. True when the caller wants to stop, see `status`.
  bool record(double objective, double gradient_norm) {
    history_.push_back(unscale(objective));
    if (callback_ && callback_(sweeps(), history_.back(), gradient_norm)) {
      status_ = Status::stopped_by_callback;
      return true;
    }
    return exhausted();
  }

  bool exhausted() const { return sweeps() >= max_sweeps_; }
  std::int64_t sweeps() const { return static_cast<std::int64_t>(history_.size()) - 1; }
  Status status() const { return status_; }
  const std::vector<double>& history() const { return history_; }
  double unscale(double objective) const {
    objective += log_scale_;
    return linear_ ? rows_ * objective : std::exp(objective);
  }

 private:
  double rows_, log_scale_;
  bool linear_;
  std::int64_t max_sweeps_;
  Callback callback_;
  Status status_ = Status::max_sweeps;
  std::vector<double> history_{0.0};
};

}  // namespace pathcond
