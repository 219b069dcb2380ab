#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

#include "core/host_device.hpp"
#include "core/incidence.hpp"
#include "core/panels.hpp"

namespace pathcond {

/// Rows first + j * stride + i of one column for j < count and i < taps, all with one sign; the
/// first is a row of B, the others may lie beyond.
struct Progression {
  std::int64_t first, taps, stride, count;
  std::int32_t neuron;

  /// Whether all are rows of B; sums and products that could overflow are not formed.
  PATHCOND_HOST_DEVICE bool within(std::int64_t rows) const {
    const std::int64_t left = rows - first - taps;
    return left >= 0 && (count == 1 || count - 1 <= left / stride);
  }
  PATHCOND_HOST_DEVICE std::int64_t last() const { return first + (count - 1) * stride + taps - 1; }
};

/// More progressions than this make no column of a network.
inline constexpr int kMostProgressions = 64;

/// Tensors found in a matrix B.
class Recognised {
 public:
  /// The tensors of g; this must outlive what is returned.
  template <class G>
  Panels<G> over(const G* g) const {
    Panels<G> all{neurons, rows, {}};
    for (const auto& [first, p] : tensors)
      all.panels.push_back({g + first, p.batch, p.enters, p.leaves, p.repeats, p.taps,
                            p.batch_stride, p.enter_stride, p.leave_stride, p.repeat_stride,
                            p.tap_stride, p.entered, p.left, p.multiplicity});
    return all;
  }

  struct Tensor {
    std::int64_t first;  ///< its first row
    Panel<char> panel;   ///< without g
  };

  std::int32_t neurons = 0;
  std::int64_t rows = 0;
  std::vector<Tensor> tensors;
  std::deque<std::vector<std::int32_t>> ids;  ///< that panels point to
};

/// Puts the progressions of all columns together as tensors: rows in row-major order, each entering
/// one channel, of which every neuron leaves the same positions of every output channel. nullopt
/// where they are anything else.
std::optional<Recognised> assemble(std::int64_t rows, std::int32_t neurons,
                                   const std::vector<Progression>& entering,
                                   std::vector<Progression> leaving);

/// Finds the weights of linear layers and convolutions in B. All of B is compared with what is
/// found, in one pass, so that an answer also vouches for its indices and values. nullopt where B
/// is anything else, be it invalid.
template <class Index, class Value>
std::optional<Recognised> recognise(const IncidenceView<Index, Value>& B, int threads);

}  // namespace pathcond
