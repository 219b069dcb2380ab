#include "core/accumulate.hpp"

#include <algorithm>
#include <bit>
#include <type_traits>

#include "core/simd.hpp"

namespace pathcond {
namespace {

constexpr std::int64_t kLanes = 16;

/// The bits of numbers that are not negative order like the numbers; those of all others, NaN
/// included, lie outside the range of the positive ones.
template <class G>
using Bits = std::conditional_t<sizeof(G) == 8, std::int64_t, std::int32_t>;

template <class G>
[[gnu::always_inline]] inline Look look_lanes(const G* g, std::int64_t n) {
  using B = Bits<G>;
  constexpr auto kInfinity = std::bit_cast<B>(std::numeric_limits<G>::infinity());
  B lowest = kInfinity, highest = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    const auto value = std::bit_cast<B>(g[i]);
    lowest = value < lowest ? value : lowest;
    highest = value > highest ? value : highest;
  }
  if (lowest <= 0 || highest >= kInfinity) return {0, 0, false};
  return {static_cast<double>(std::bit_cast<G>(lowest)),
          static_cast<double>(std::bit_cast<G>(highest)), true};
}

template <class G>
[[gnu::always_inline]] inline double sum_lanes(const G* g, std::int64_t n) {
  double lane[kLanes] = {};
  std::int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes)
    for (std::int64_t j = 0; j < kLanes; ++j) lane[j] += static_cast<double>(g[i + j]);
  double sum = 0;
  for (; i < n; ++i) sum += static_cast<double>(g[i]);
  for (const double part : lane) sum += part;
  return sum;
}

/// Sum of n entries as a tree: short chains of additions.
template <int n, class G>
[[gnu::always_inline]] inline double sum_tree(const G* g) {
  if constexpr (n == 1)
    return static_cast<double>(*g);
  else
    return sum_tree<n / 2>(g) + sum_tree<n - n / 2>(g + n / 2);
}

/// sums[i] += the `taps` entries from g[i * taps] on.
template <int taps, class G>
[[gnu::always_inline]] inline void sum_taps(const G* g, std::int64_t n, double* sums) {
  for (std::int64_t i = 0; i < n; ++i) sums[i] += sum_tree<taps>(g + i * taps);
}

template <class G>
[[gnu::always_inline]] inline void add_lanes(double* __restrict__ to, const G* __restrict__ g,
                                             std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) to[i] += static_cast<double>(g[i]);
}

/// sums_b += sum_i g_ib and to_i += sum_b g_ib, for a few columns at a time.
template <std::int64_t columns, class G>
[[gnu::always_inline]] inline void sum_columns_lanes(const G* __restrict__ g, std::int64_t stride,
                                                     std::int64_t n, double* __restrict__ sums,
                                                     double* __restrict__ to) {
  constexpr std::int64_t lanes = kLanes / 2;
  double lane[columns][lanes] = {};
  std::int64_t i = 0;
  for (; i + lanes <= n; i += lanes)
    for (std::int64_t j = 0; j < lanes; ++j) {
      double sum = to[i + j];
      for (std::int64_t b = 0; b < columns; ++b) {
        const auto value = static_cast<double>(g[b * stride + i + j]);
        lane[b][j] += value;
        sum += value;
      }
      to[i + j] = sum;
    }
  for (std::int64_t b = 0; b < columns; ++b) {
    for (std::int64_t k = i; k < n; ++k) sums[b] += static_cast<double>(g[b * stride + k]);
    for (const double part : lane[b]) sums[b] += part;
  }
  for (; i < n; ++i)
    for (std::int64_t b = 0; b < columns; ++b) to[i] += static_cast<double>(g[b * stride + i]);
}

constexpr std::int64_t kColumns = 4;

PATHCOND_SIMD Look look_at(const float* g, std::int64_t n) { return look_lanes(g, n); }
PATHCOND_SIMD Look look_at(const double* g, std::int64_t n) { return look_lanes(g, n); }
PATHCOND_SIMD void sum_four(const float* g, std::int64_t stride, std::int64_t n, double* sums,
                            double* to) {
  sum_columns_lanes<kColumns>(g, stride, n, sums, to);
}
PATHCOND_SIMD void sum_four(const double* g, std::int64_t stride, std::int64_t n, double* sums,
                            double* to) {
  sum_columns_lanes<kColumns>(g, stride, n, sums, to);
}
PATHCOND_SIMD void sum_one(const float* g, std::int64_t n, double* sums, double* to) {
  sum_columns_lanes<1>(g, 0, n, sums, to);
}
PATHCOND_SIMD void sum_one(const double* g, std::int64_t n, double* sums, double* to) {
  sum_columns_lanes<1>(g, 0, n, sums, to);
}
PATHCOND_SIMD double sum(const float* g, std::int64_t n) { return sum_lanes(g, n); }
PATHCOND_SIMD double sum(const double* g, std::int64_t n) { return sum_lanes(g, n); }
PATHCOND_SIMD void add(double* to, const float* g, std::int64_t n) { add_lanes(to, g, n); }
PATHCOND_SIMD void add(double* to, const double* g, std::int64_t n) { add_lanes(to, g, n); }
PATHCOND_SIMD void sum_nines(const float* g, std::int64_t n, double* to) { sum_taps<9>(g, n, to); }
PATHCOND_SIMD void sum_nines(const double* g, std::int64_t n, double* to) { sum_taps<9>(g, n, to); }

}  // namespace

template <class G>
Look inspect(const G* g, std::int64_t columns, std::int64_t stride, std::int64_t rows,
             double* column_sums, double* row_sums) {
  Look look;
  for (std::int64_t first = 0; first < columns; first += kColumns) {
    const std::int64_t count = std::min(kColumns, columns - first);
    // The columns are in a near cache when they are added.
    for (std::int64_t b = first; b < first + count; ++b) look.add(look_at(g + b * stride, rows));
    if (count == kColumns) {
      sum_four(g + first * stride, stride, rows, column_sums + first, row_sums);
      continue;
    }
    for (std::int64_t b = first; b < columns; ++b)
      sum_one(g + b * stride, rows, column_sums + b, row_sums);
  }
  return look;
}

namespace {

/// Adds rows of entries that follow each other, `rows` of `size`, to the sums at `to`.
template <class G>
void add_rows(const G* g, std::int64_t rows, std::int64_t row_stride, std::int64_t row_to,
              const Axis& inner, double* to) {
  if (inner.size == 9 && inner.stride == 1 && row_stride == 9 && inner.to == 0 && row_to == 1) {
    sum_nines(g, rows, to);
    return;
  }
  for (std::int64_t j = 0; j < rows; ++j, g += row_stride, to += row_to) {
    if (inner.stride == 1 && inner.to == 0) {
      *to += sum(g, inner.size);
    } else if (inner.stride == 1 && inner.to == 1) {
      add(to, g, inner.size);
    } else {
      for (std::int64_t k = 0; k < inner.size; ++k)
        to[k * inner.to] += static_cast<double>(g[k * inner.stride]);
    }
  }
}

template <class G>
Look look_at_rows(const G* g, std::int64_t rows, std::int64_t row_stride, const Axis& inner) {
  if (inner.stride == 1 && row_stride == inner.size) return look_at(g, rows * inner.size);
  Look look;
  if (inner.stride == 1) {
    for (std::int64_t j = 0; j < rows; ++j) look.add(look_at(g + j * row_stride, inner.size));
    return look;
  }
  for (std::int64_t j = 0; j < rows; ++j)
    for (std::int64_t k = 0; k < inner.size; ++k)
      look.add(look_at(g + j * row_stride + k * inner.stride, 1));
  return look;
}

}  // namespace

template <class G>
Look accumulate(const G* g, const Nest& axes, double* to) {
  const auto [outermost, outer, middle, inner] = nest(axes);
  // So few entries that they are still in the first cache when they are added.
  constexpr std::int64_t kAtOnce = 2048;
  const std::int64_t rows = std::max<std::int64_t>(1, kAtOnce / inner.size);
  Look look;
  for (std::int64_t h = 0; h < outermost.size; ++h)
    for (std::int64_t i = 0; i < outer.size; ++i)
      for (std::int64_t j = 0; j < middle.size; j += rows) {
        const std::int64_t count = std::min(rows, middle.size - j);
        const G* first = g + h * outermost.stride + i * outer.stride + j * middle.stride;
        look.add(look_at_rows(first, count, middle.stride, inner));
        add_rows(first, count, middle.stride, middle.to, inner,
                 to + h * outermost.to + i * outer.to + j * middle.to);
      }
  return look;
}

template Look accumulate(const float*, const Nest&, double*);
template Look accumulate(const double*, const Nest&, double*);
template Look inspect(const float*, std::int64_t, std::int64_t, std::int64_t, double*, double*);
template Look inspect(const double*, std::int64_t, std::int64_t, std::int64_t, double*, double*);

}  // namespace pathcond
