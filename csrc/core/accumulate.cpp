#include "core/accumulate.hpp"

#include <algorithm>

#include "core/simd.hpp"
#include "core/wide.hpp"

namespace pathcond {
namespace {

/// Sum of n entries as a tree: short chains of additions.
template <int n, class G>
[[gnu::always_inline]] inline double sum_tree(const G* g) {
  if constexpr (n == 1)
    return static_cast<double>(*g);
  else
    return sum_tree<n / 2>(g) + sum_tree<n - n / 2>(g + n / 2);
}

template <class G>
[[gnu::always_inline]] inline double sum_wide(const G* g, std::int64_t n, Extremes<G>& seen) {
  constexpr int kChains = Extremes<G>::kEach;
  Extremes<G> at = seen;
  Wide<double> part[kChains] = {};
  std::int64_t i = 0;
  for (; i + kChains * kWide <= n; i += kChains * kWide)
    for (int k = 0; k < kChains; ++k) {
      const Wide<G> entries = load(g + i + k * kWide);
      at.see(k, entries);
      part[k] += as_double<G>(entries);
    }
  double sum = sum_of((part[0] + part[1]) + (part[2] + part[3]));
  for (; i < n; ++i) {
    at.see_one(g[i]);
    sum += static_cast<double>(g[i]);
  }
  seen = at;
  return sum;
}

/// sums[i] += the nine entries from g[9 i] on.
template <class G>
[[gnu::always_inline]] inline void sum_nines_wide(const G* g, std::int64_t n, double* sums,
                                                  Extremes<G>& seen) {
  constexpr int kTaps = 9;
  Extremes<G> at = seen;
  std::int64_t i = 0;
#if defined(__has_builtin) && __has_builtin(__builtin_shufflevector)
  for (; i + kWide <= n; i += kWide) {
    const G* first = g + kTaps * i;
    for (int k = 0; k < kTaps; ++k) at.see(k % Extremes<G>::kEach, load(first + k * kWide));
    // Of every nine the first eight, summed across while they are transposed.
    Wide<double> row[8], two[4], four[2];
    for (int k = 0; k < 8; ++k) row[k] = as_double<G>(load(first + kTaps * k));
    for (int k = 0; k < 4; ++k)
      two[k] = __builtin_shufflevector(row[2 * k], row[2 * k + 1], 0, 8, 2, 10, 4, 12, 6, 14) +
               __builtin_shufflevector(row[2 * k], row[2 * k + 1], 1, 9, 3, 11, 5, 13, 7, 15);
    for (int k = 0; k < 2; ++k)
      four[k] = __builtin_shufflevector(two[2 * k], two[2 * k + 1], 0, 1, 8, 9, 4, 5, 12, 13) +
                __builtin_shufflevector(two[2 * k], two[2 * k + 1], 2, 3, 10, 11, 6, 7, 14, 15);
    const Wide<double> eight =
        __builtin_shufflevector(four[0], four[1], 0, 1, 2, 3, 8, 9, 10, 11) +
        __builtin_shufflevector(four[0], four[1], 4, 5, 6, 7, 12, 13, 14, 15);
    Wide<double> last;
    for (int k = 0; k < 8; ++k) last[k] = static_cast<double>(first[kTaps * k + 8]);
    store(sums + i, load(sums + i) + (eight + last));
  }
#endif
  for (; i < n; ++i) {
    for (int k = 0; k < kTaps; ++k) at.see_one(g[kTaps * i + k]);
    sums[i] += sum_tree<kTaps>(g + kTaps * i);
  }
  seen = at;
}

/// to_i += sum_b g_ib, for a few columns at a time, and sums_b += sum_i g_ib if `both`.
template <int columns, bool both, class G>
[[gnu::always_inline]] inline void sum_columns_wide(const G* __restrict__ g, std::int64_t stride,
                                                    std::int64_t n, double* __restrict__ sums,
                                                    double* __restrict__ to, Extremes<G>& seen) {
  Extremes<G> at = seen;
  Wide<double> part[columns] = {};
  std::int64_t i = 0;
  for (; i + kWide <= n; i += kWide) {
    Wide<double> sum = load(to + i);
    for (int b = 0; b < columns; ++b) {
      const Wide<G> entries = load(g + b * stride + i);
      at.see(b, entries);
      const Wide<double> values = as_double<G>(entries);
      sum += values;
      if constexpr (both) part[b] += values;
    }
    store(to + i, sum);
  }
  if constexpr (both)
    for (int b = 0; b < columns; ++b) sums[b] += sum_of(part[b]);
  for (; i < n; ++i)
    for (int b = 0; b < columns; ++b) {
      const G entry = g[b * stride + i];
      at.see_one(entry);
      to[i] += static_cast<double>(entry);
      if constexpr (both) sums[b] += static_cast<double>(entry);
    }
  seen = at;
}

constexpr int kColumns = 4;

#define PATHCOND_ACCUMULATE(G)                                                               \
  PATHCOND_SIMD double sum(const G* g, std::int64_t n, Extremes<G>& seen) {                  \
    return sum_wide(g, n, seen);                                                             \
  }                                                                                          \
  PATHCOND_SIMD void sum_nines(const G* g, std::int64_t n, double* to, Extremes<G>& seen) {  \
    sum_nines_wide(g, n, to, seen);                                                          \
  }                                                                                          \
  PATHCOND_SIMD void add_one(const G* g, std::int64_t n, double* to, Extremes<G>& seen) {    \
    sum_columns_wide<1, false>(g, 0, n, nullptr, to, seen);                                  \
  }                                                                                          \
  PATHCOND_SIMD void add_four(const G* g, std::int64_t stride, std::int64_t n, double* to,   \
                              Extremes<G>& seen) {                                           \
    sum_columns_wide<kColumns, false>(g, stride, n, nullptr, to, seen);                      \
  }                                                                                          \
  PATHCOND_SIMD void sum_one(const G* g, std::int64_t n, double* sums, double* to,           \
                             Extremes<G>& seen) {                                            \
    sum_columns_wide<1, true>(g, 0, n, sums, to, seen);                                      \
  }                                                                                          \
  PATHCOND_SIMD void sum_four(const G* g, std::int64_t stride, std::int64_t n, double* sums, \
                              double* to, Extremes<G>& seen) {                               \
    sum_columns_wide<kColumns, true>(g, stride, n, sums, to, seen);                          \
  }
PATHCOND_ACCUMULATE(float)
PATHCOND_ACCUMULATE(double)
#undef PATHCOND_ACCUMULATE

template <class G>
Look look_of(const Extremes<G>& seen) {
  constexpr auto kInfinity = std::bit_cast<Bits<G>>(std::numeric_limits<G>::infinity());
  Bits<G> lowest = kInfinity, highest = 0;
  for (int k = 0; k < Extremes<G>::kEach; ++k)
    for (int j = 0; j < kWide; ++j) {
      lowest = std::min<Bits<G>>(lowest, seen.low[k][j]);
      highest = std::max<Bits<G>>(highest, seen.high[k][j]);
    }
  if (lowest <= 0 || highest >= kInfinity) return {0, 0, false};
  return {static_cast<double>(std::bit_cast<G>(lowest)),
          static_cast<double>(std::bit_cast<G>(highest)), true};
}

}  // namespace

template <class G>
Look inspect(const G* g, std::int64_t columns, std::int64_t stride, std::int64_t rows,
             double* column_sums, double* row_sums) {
  Extremes<G> seen;
  std::int64_t b = 0;
  for (; b + kColumns <= columns; b += kColumns)
    sum_four(g + b * stride, stride, rows, column_sums + b, row_sums, seen);
  for (; b < columns; ++b) sum_one(g + b * stride, rows, column_sums + b, row_sums, seen);
  return look_of(seen);
}

namespace {

/// Adds rows of entries, `rows` of them `row_stride` apart, to the sums at `to`.
template <class G>
void add_rows(const G* g, std::int64_t rows, std::int64_t row_stride, std::int64_t row_to,
              const Axis& inner, double* to, Extremes<G>& seen) {
  const bool together = inner.stride == 1;
  if (together && inner.to == 0 && inner.size == 9 && row_stride == 9 && row_to == 1)
    return sum_nines(g, rows, to, seen);
  std::int64_t j = 0;
  if (together && inner.to == 1 && row_to == 0)
    for (; j + kColumns <= rows; j += kColumns)
      add_four(g + j * row_stride, row_stride, inner.size, to, seen);
  for (; j < rows; ++j) {
    const G* row = g + j * row_stride;
    double* at = to + j * row_to;
    if (together && inner.to == 0) {
      *at += sum(row, inner.size, seen);
    } else if (together && inner.to == 1) {
      add_one(row, inner.size, at, seen);
    } else {
      for (std::int64_t k = 0; k < inner.size; ++k) {
        seen.see_one(row[k * inner.stride]);
        at[k * inner.to] += static_cast<double>(row[k * inner.stride]);
      }
    }
  }
}

}  // namespace

template <class G>
Look accumulate(const G* g, const Nest& axes, double* to) {
  const auto [outermost, outer, middle, inner] = nest(axes);
  Extremes<G> seen;
  for (std::int64_t h = 0; h < outermost.size; ++h)
    for (std::int64_t i = 0; i < outer.size; ++i)
      add_rows(g + h * outermost.stride + i * outer.stride, middle.size, middle.stride, middle.to,
               inner, to + h * outermost.to + i * outer.to, seen);
  return look_of(seen);
}

template Look accumulate(const float*, const Nest&, double*);
template Look accumulate(const double*, const Nest&, double*);
template Look inspect(const float*, std::int64_t, std::int64_t, std::int64_t, double*, double*);
template Look inspect(const double*, std::int64_t, std::int64_t, std::int64_t, double*, double*);

}  // namespace pathcond
