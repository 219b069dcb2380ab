#pragma once

#include <cstdint>

/// One pass over a model's parameter or another tensor of its size.
namespace pathcond {

struct Magnitudes {
  double smallest;  ///< of the entries other than 0, infinity if there are none
  double largest;   ///< NaN if an entry is
};

/// The smallest and the largest |x|.
template <class T>
Magnitudes magnitudes(const T* x, std::int64_t size, int threads);

/// What a rescaling did to a parameter.
struct Scaled {
  double largest;     ///< magnitude of a new entry, NaN if one is NaN
  std::int64_t lost;  ///< entries that shrank to less than the smallest normal number
};

/// A factor of every entry of a matrix: 1 × 1, rows × 1, 1 × columns or rows × columns.
struct Factor {
  const double* values;
  bool by_row, by_column;

  /// From one row's to the next's.
  std::int64_t step(std::int64_t columns) const { return by_row ? (by_column ? columns : 1) : 0; }
};

/// to = `product` of x, first and second, rounded once; all contiguous. `to` may be x.
template <class T>
Scaled scale(const T* x, std::int64_t rows, std::int64_t columns, const Factor& first,
             const Factor& second, T* to, int threads);

}  // namespace pathcond
