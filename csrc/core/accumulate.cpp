#include "core/accumulate.hpp"

#include <utility>

#include "core/simd.hpp"

namespace pathcond {
namespace {

constexpr std::int64_t kLanes = 16;

template <class G>
[[gnu::always_inline]] inline Look look_lanes(const G* g, std::int64_t n) {
  G low[kLanes], high[kLanes];
  unsigned char bad[kLanes] = {};
  std::fill_n(low, kLanes, std::numeric_limits<G>::infinity());
  std::fill_n(high, kLanes, G{0});
  std::int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes)
    for (std::int64_t j = 0; j < kLanes; ++j) {
      const G value = g[i + j];
      bad[j] |= static_cast<unsigned char>(!(value > 0));
      low[j] = value < low[j] ? value : low[j];
      high[j] = value > high[j] ? value : high[j];
    }
  Look look;
  for (; i < n; ++i) {
    look.positive &= g[i] > 0;
    look.smallest = std::min(look.smallest, static_cast<double>(g[i]));
    look.largest = std::max(look.largest, static_cast<double>(g[i]));
  }
  for (std::int64_t j = 0; j < kLanes; ++j) {
    look.positive &= bad[j] == 0;
    look.smallest = std::min(look.smallest, static_cast<double>(low[j]));
    look.largest = std::max(look.largest, static_cast<double>(high[j]));
  }
  return look;
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

/// sums[i] = sum of the `taps` entries from g[i * taps] on.
template <int taps, class G>
[[gnu::always_inline]] inline void sum_taps(const G* g, std::int64_t n, double* sums) {
  for (std::int64_t i = 0; i < n; ++i) {
    double sum = 0;
    for (int t = 0; t < taps; ++t) sum += static_cast<double>(g[i * taps + t]);
    sums[i] += sum;
  }
}

template <class G>
[[gnu::always_inline]] inline void add_lanes(double* __restrict__ to, const G* __restrict__ g,
                                             std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) to[i] += static_cast<double>(g[i]);
}

PATHCOND_SIMD Look look_at(const float* g, std::int64_t n) { return look_lanes(g, n); }
PATHCOND_SIMD Look look_at(const double* g, std::int64_t n) { return look_lanes(g, n); }
PATHCOND_SIMD double sum(const float* g, std::int64_t n) { return sum_lanes(g, n); }
PATHCOND_SIMD double sum(const double* g, std::int64_t n) { return sum_lanes(g, n); }
PATHCOND_SIMD void add(double* to, const float* g, std::int64_t n) { add_lanes(to, g, n); }
PATHCOND_SIMD void add(double* to, const double* g, std::int64_t n) { add_lanes(to, g, n); }
PATHCOND_SIMD void sum_nines(const float* g, std::int64_t n, double* to) { sum_taps<9>(g, n, to); }
PATHCOND_SIMD void sum_nines(const double* g, std::int64_t n, double* to) { sum_taps<9>(g, n, to); }

/// The axes, outermost in memory first; neighbours that act as one are joined.
Nest nest(Nest axes) {
  const auto sort = [&] {
    std::stable_sort(axes.begin(), axes.end(), [](const Axis& a, const Axis& b) {
      if ((a.size == 1) != (b.size == 1)) return a.size == 1;
      return a.stride > b.stride;
    });
  };
  sort();
  for (std::size_t inner = axes.size() - 1; inner > 0; --inner) {
    Axis &a = axes[inner - 1], &b = axes[inner];
    if (a.size == 1 || a.stride != b.size * b.stride || a.to != b.size * b.to) continue;
    b.size *= a.size;
    a = {1, 0, 0};
    std::swap(a, b);  // the joined axis may go with the next one out
  }
  sort();
  return axes;
}

}  // namespace

template <class G>
Look accumulate(const G* g, const Nest& axes, double* to) {
  const auto [outermost, outer, middle, inner] = nest(axes);
  const bool solid = inner.stride == 1 && (middle.size == 1 || middle.stride == inner.size);
  Look look;
  for (std::int64_t at = 0; at < outermost.size * outer.size; ++at) {
    const std::int64_t h = at / outer.size, i = at % outer.size;
    const G* plane = g + h * outermost.stride + i * outer.stride;
    if (solid) look.add(look_at(plane, middle.size * inner.size));
    double* sums = to + h * outermost.to + i * outer.to;
    if (solid && inner.size == 9 && inner.to == 0 && middle.to == 1) {
      sum_nines(plane, middle.size, sums);
      continue;
    }
    for (std::int64_t j = 0; j < middle.size; ++j) {
      const G* row = plane + j * middle.stride;
      double* sum_of_row = sums + j * middle.to;
      if (inner.stride != 1) {
        for (std::int64_t k = 0; k < inner.size; ++k) {
          look.add(look_at(row + k * inner.stride, 1));
          sum_of_row[k * inner.to] += static_cast<double>(row[k * inner.stride]);
        }
        continue;
      }
      if (!solid) look.add(look_at(row, inner.size));
      if (inner.to == 0) {
        *sum_of_row += sum(row, inner.size);
      } else if (inner.to == 1) {
        add(sum_of_row, row, inner.size);
      } else {
        for (std::int64_t k = 0; k < inner.size; ++k)
          sum_of_row[k * inner.to] += static_cast<double>(row[k]);
      }
    }
  }
  return look;
}

template <class G>
Look inspect(const G* g, std::int64_t columns, std::int64_t stride, std::int64_t rows) {
  if (stride == rows) return look_at(g, columns * rows);
  Look look;
  for (std::int64_t b = 0; b < columns; ++b) look.add(look_at(g + b * stride, rows));
  return look;
}

template Look accumulate(const float*, const Nest&, double*);
template Look accumulate(const double*, const Nest&, double*);
template Look inspect(const float*, std::int64_t, std::int64_t, std::int64_t);
template Look inspect(const double*, std::int64_t, std::int64_t, std::int64_t);

}  // namespace pathcond
