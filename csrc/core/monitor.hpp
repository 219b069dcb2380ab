#pragma once

#include <cstdint>
#include <functional>
#include <utility>

namespace pathcond {

/// Lets the caller interrupt long loops: `poll` is called now and then and may throw.
class Monitor {
 public:
  Monitor() = default;
  explicit Monitor(std::function<void()> poll) : poll_(std::move(poll)) {}

  /// Report `work` units (about one memory access each) done since the last call.
  void advance(std::int64_t work) {
    pending_ += work;
    if (pending_ < kWorkBetweenPolls) return;
    pending_ = 0;
    if (poll_) poll_();
  }

 private:
  static constexpr std::int64_t kWorkBetweenPolls = 1 << 20;
  std::function<void()> poll_;
  std::int64_t pending_ = 0;
};

}  // namespace pathcond
