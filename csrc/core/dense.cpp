#include "core/dense.hpp"

#include "core/simd.hpp"

namespace pathcond {
namespace {

// Independent partial sums, so that the compiler may use vectors without reordering any sum.
constexpr std::int64_t kLanes = 16;

template <class W>
[[gnu::always_inline]] inline double dot_lanes(const W* w, const double* x, std::int64_t n) {
  double lane[kLanes] = {};
  std::int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes)
    for (std::int64_t j = 0; j < kLanes; ++j) lane[j] += static_cast<double>(w[i + j]) * x[i + j];
  double sum = 0;
  for (; i < n; ++i) sum += static_cast<double>(w[i]) * x[i];
  for (const double part : lane) sum += part;
  return sum;
}

template <class W>
[[gnu::always_inline]] inline void add_lanes(double* __restrict__ to, const W* __restrict__ w,
                                             double factor, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) to[i] += factor * static_cast<double>(w[i]);
}

/// Columns that are taken together: what belongs to rows is then loaded and stored once for all.
constexpr std::int64_t kColumns = 4;

template <std::int64_t columns, class W>
[[gnu::always_inline]] inline void add_columns_lanes(const W* __restrict__ w, std::int64_t stride,
                                                     std::int64_t n, const double* __restrict__ y,
                                                     double* __restrict__ to) {
  for (std::int64_t i = 0; i < n; ++i) {
    double sum = to[i];
    for (std::int64_t b = 0; b < columns; ++b) sum += y[b] * static_cast<double>(w[b * stride + i]);
    to[i] = sum;
  }
}

template <std::int64_t columns, std::int64_t lanes, class W>
[[gnu::always_inline]] inline void dot_and_add_lanes(const W* __restrict__ w, std::int64_t stride,
                                                     std::int64_t n, const double* __restrict__ x,
                                                     const double* __restrict__ y,
                                                     double* __restrict__ sums,
                                                     double* __restrict__ to) {
  double lane[columns][lanes] = {};
  std::int64_t i = 0;
  for (; i + lanes <= n; i += lanes)
    for (std::int64_t j = 0; j < lanes; ++j) {
      double sum = to[i + j];
      for (std::int64_t b = 0; b < columns; ++b) {
        const auto value = static_cast<double>(w[b * stride + i + j]);
        lane[b][j] += value * x[i + j];
        sum += y[b] * value;
      }
      to[i + j] = sum;
    }
  for (std::int64_t b = 0; b < columns; ++b) {
    double sum = 0;
    for (std::int64_t k = i; k < n; ++k) sum += static_cast<double>(w[b * stride + k]) * x[k];
    for (const double part : lane[b]) sum += part;
    sums[b] = sum;
  }
  for (; i < n; ++i)
    for (std::int64_t b = 0; b < columns; ++b)
      to[i] += y[b] * static_cast<double>(w[b * stride + i]);
}

}  // namespace

PATHCOND_SIMD double dot(const double* w, const double* x, std::int64_t n) {
  return dot_lanes(w, x, n);
}
PATHCOND_SIMD double dot(const float* w, const double* x, std::int64_t n) {
  return dot_lanes(w, x, n);
}
PATHCOND_SIMD void add_scaled(double* to, const double* w, double factor, std::int64_t n) {
  add_lanes(to, w, factor, n);
}
PATHCOND_SIMD void add_scaled(double* to, const float* w, double factor, std::int64_t n) {
  add_lanes(to, w, factor, n);
}
namespace {

PATHCOND_SIMD void add_four(const double* w, std::int64_t stride, std::int64_t n, const double* y,
                            double* to) {
  add_columns_lanes<kColumns>(w, stride, n, y, to);
}
PATHCOND_SIMD void add_four(const float* w, std::int64_t stride, std::int64_t n, const double* y,
                            double* to) {
  add_columns_lanes<kColumns>(w, stride, n, y, to);
}
PATHCOND_SIMD void dot_and_add_four(const double* w, std::int64_t stride, std::int64_t n,
                                    const double* x, const double* y, double* sums, double* to) {
  dot_and_add_lanes<kColumns, 8>(w, stride, n, x, y, sums, to);
}
PATHCOND_SIMD void dot_and_add_four(const float* w, std::int64_t stride, std::int64_t n,
                                    const double* x, const double* y, double* sums, double* to) {
  dot_and_add_lanes<kColumns, 8>(w, stride, n, x, y, sums, to);
}
PATHCOND_SIMD void dot_and_add_one(const double* w, std::int64_t n, const double* x,
                                   const double* y, double* sums, double* to) {
  dot_and_add_lanes<1, kLanes>(w, 0, n, x, y, sums, to);
}
PATHCOND_SIMD void dot_and_add_one(const float* w, std::int64_t n, const double* x, const double* y,
                                   double* sums, double* to) {
  dot_and_add_lanes<1, kLanes>(w, 0, n, x, y, sums, to);
}

}  // namespace

template <class W>
void add_columns(const W* w, std::int64_t stride, std::int64_t rows, std::int64_t columns,
                 const double* y, double* to) {
  std::int64_t b = 0;
  for (; b + kColumns <= columns; b += kColumns) add_four(w + b * stride, stride, rows, y + b, to);
  for (; b < columns; ++b) add_scaled(to, w + b * stride, y[b], rows);
}

template <class W>
void dot_and_add_columns(const W* w, std::int64_t stride, std::int64_t rows, std::int64_t columns,
                         const double* x, const double* y, double* sums, double* to) {
  std::int64_t b = 0;
  for (; b + kColumns <= columns; b += kColumns)
    dot_and_add_four(w + b * stride, stride, rows, x, y + b, sums + b, to);
  for (; b < columns; ++b) dot_and_add_one(w + b * stride, rows, x, y + b, sums + b, to);
}

template void add_columns(const float*, std::int64_t, std::int64_t, std::int64_t, const double*,
                          double*);
template void add_columns(const double*, std::int64_t, std::int64_t, std::int64_t, const double*,
                          double*);
template void dot_and_add_columns(const float*, std::int64_t, std::int64_t, std::int64_t,
                                  const double*, const double*, double*, double*);
template void dot_and_add_columns(const double*, std::int64_t, std::int64_t, std::int64_t,
                                  const double*, const double*, double*, double*);

}  // namespace pathcond
