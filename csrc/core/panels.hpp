#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "core/blocks.hpp"
#include "core/merge.hpp"
#include "core/monitor.hpp"

/// A network's B is never needed entry by entry: all entries of a weight that enter one channel and
/// leave another have the same row. Weights are therefore merged where they lie, tensor by tensor.
namespace pathcond {

/// One parameter's part of g, seen as an array over (k, e, l, s, r): its entry enters the neuron
/// entered[k, e] and leaves the neuron left[k, l], -1 standing for none. Borrowed from the caller.
template <class G>
struct Panel {
  const G* g;
  std::int64_t batch, enters, leaves, repeats, taps;
  /// In entries of g.
  std::int64_t batch_stride, enter_stride, leave_stride, repeat_stride, tap_stride;
  const std::int32_t* entered;    ///< batch x enters
  const std::int32_t* left;       ///< batch x leaves
  std::int64_t multiplicity = 1;  ///< rows of B behind every entry, see `reduce`

  /// Entries of one row of B.
  std::int64_t depth() const { return repeats * taps; }
};

/// All rows of B: every entry of g is in one panel.
template <class G>
struct Panels {
  std::int32_t neurons;  ///< H
  std::int64_t rows;     ///< p
  std::vector<Panel<G>> panels;
};

/// Sums over repeats and taps, and over all channels of a side whose flag is set, in the order
/// (k, e, l). Nullopt unless there are entries, all are positive and all sums finite.
template <class G>
std::optional<std::vector<double>> reduce(const Panel<G>& panel, bool over_enters,
                                          bool over_leaves);

/// A merged problem with blocks, and what the blocks do not tell.
struct MergedPanels {
  PairProblem ends;  ///< without its pairs
  BlockProblem blocks;
  std::int64_t merged_rows = 0;
  bool filled = true;  ///< no weight of a dense block is 0
};

/// nullopt where only B itself serves: a layer that writes to what it reads, or weights that lie
/// too far apart for sums in double precision, or are negative, infinite or NaN. Matrices in which
/// no rows are equal are borrowed, so that g must outlive the result.
template <class G>
std::optional<MergedPanels> merge_panels(const Panels<G>& input, int threads, Monitor& monitor);

}  // namespace pathcond
