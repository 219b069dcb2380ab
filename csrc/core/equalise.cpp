#include "core/equalise.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "pathcond/solve.hpp"

namespace pathcond {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

/// The largest weight of a neuron's rows of one value; its log falls by value s where log lambda
/// grows by s.
struct Side {
  int value = 0;
  double largest = -kInfinity;

  double at(double s) const { return largest - value * s; }
};

/// Of a neuron: the largest weight of every value.
class Neuron {
 public:
  void read(const WeightColumns& B, std::size_t h, const std::vector<double>& log_size) {
    sides_.clear();
    for (auto k = B.begin[h]; k < B.begin[h + 1]; ++k) {
      const auto known = std::find_if(sides_.begin(), sides_.end(),
                                      [&](const Side& x) { return x.value == B.value[k]; });
      Side& side = known == sides_.end() ? sides_.emplace_back(Side{B.value[k]}) : *known;
      side.largest = std::max(side.largest, log_size[B.row[k]]);
    }
  }

  /// log(largest that enters / largest that leaves); 0 if a side is missing.
  double gap() const {
    const auto [enters, leaves] = largest_at(0);
    return enters.value == 0 || leaves.value == 0 ? 0 : enters.largest - leaves.largest;
  }

  /// The change of log lambda that closes the gap: the root of an increasing, piecewise linear
  /// function by Newton's method inside a bracket. One step where all values are -1 and +1.
  double closing_step() const {
    double low = -kInfinity, high = kInfinity, s = 0;
    for (int iteration = 0; iteration < 100; ++iteration) {
      const auto [enters, leaves] = largest_at(s);
      const double now = enters.at(s) - leaves.at(s);
      if (now == 0) break;
      (now > 0 ? high : low) = s;
      double next = (leaves.largest - enters.largest) / (leaves.value - enters.value);
      if (!(low < next && next < high)) next = 0.5 * (low + high);
      if (next == s || !std::isfinite(next)) break;
      s = next;
    }
    return s;
  }

 private:
  struct Ends {
    Side enters, leaves;
  };

  Ends largest_at(double s) const {
    Ends ends;
    for (const Side& side : sides_) {
      Side& best = side.value < 0 ? ends.enters : ends.leaves;
      if (best.value == 0 || side.at(s) > best.at(s)) best = side;
    }
    return ends;
  }

  std::vector<Side> sides_;
};

/// What the sweeps work on: sizes where the scales are.
struct State {
  const WeightColumns& B;
  std::vector<double> log_size, log_scale;
  double farthest;  ///< |log lambda| at most
  Monitor& monitor;
  Neuron neuron = {};

  void read(std::size_t h) {
    neuron.read(B, h, log_size);
    monitor.advance(B.begin[h + 1] - B.begin[h]);
  }

  void move(std::size_t h, double to) {
    const double s = to - log_scale[h];
    log_scale[h] = to;
    for (auto k = B.begin[h]; k < B.begin[h + 1]; ++k) log_size[B.row[k]] -= B.value[k] * s;
  }

  void sweep() {
    for (std::size_t h = 0; h < log_scale.size(); ++h) {
      read(h);
      if (neuron.gap() == 0) continue;
      move(h, std::clamp(log_scale[h] + neuron.closing_step(), -farthest, farthest));
    }
  }

  /// See `Equalised`.
  void look(Equalised& found) {
    double worst = 0;
    found.left = 0;
    for (std::size_t h = 0; h < log_scale.size(); ++h) {
      read(h);
      const double gap = neuron.gap(), size = std::abs(gap);
      worst = std::max(worst, size);
      const bool held = gap > 0 ? log_scale[h] <= -farthest : log_scale[h] >= farthest;
      if (!held) found.left = std::max(found.left, size);
    }
    found.history.push_back(worst);
  }
};

void check(const WeightColumns& B, std::size_t rows) {
  const bool valid =
      B.begin.front() == 0 && std::is_sorted(B.begin.begin(), B.begin.end()) &&
      static_cast<std::size_t>(B.begin.back()) <= std::min(B.row.size(), B.value.size()) &&
      std::all_of(B.row.begin(), B.row.end(),
                  [&](auto i) { return i >= 0 && static_cast<std::size_t>(i) < rows; }) &&
      std::find(B.value.begin(), B.value.end(), 0) == B.value.end();
  if (!valid) throw InvalidInput("B: expected valid compressed columns without zeros");
}

}  // namespace

Equalised equalise(const WeightColumns& B, std::vector<double> log_size,
                   const std::vector<double>& start, double max_scale, double tolerance,
                   std::int64_t max_sweeps, Monitor& monitor) {
  check(B, log_size.size());
  State state{B, std::move(log_size), std::vector<double>(B.begin.size() - 1), std::log(max_scale),
              monitor};
  for (std::size_t h = 0; h < start.size(); ++h) state.move(h, 0.5 * start[h]);
  Equalised found;
  state.look(found);
  for (std::int64_t sweep = 0; found.left > tolerance && sweep < max_sweeps; ++sweep) {
    state.sweep();
    state.look(found);
  }
  for (const double log_scale : state.log_scale) found.u.push_back(2 * log_scale);
  return found;
}

}  // namespace pathcond
