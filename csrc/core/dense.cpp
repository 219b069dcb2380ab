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

template <class W>
[[gnu::always_inline]] inline double dot_and_add_lanes(const W* __restrict__ w,
                                                       const double* __restrict__ x,
                                                       double* __restrict__ to, double factor,
                                                       std::int64_t n) {
  double lane[kLanes] = {};
  std::int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes)
    for (std::int64_t j = 0; j < kLanes; ++j) {
      const auto value = static_cast<double>(w[i + j]);
      lane[j] += value * x[i + j];
      to[i + j] += factor * value;
    }
  double sum = 0;
  for (; i < n; ++i) {
    const auto value = static_cast<double>(w[i]);
    sum += value * x[i];
    to[i] += factor * value;
  }
  for (const double part : lane) sum += part;
  return sum;
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
PATHCOND_SIMD double dot_and_add(const double* w, const double* x, double* to, double factor,
                                 std::int64_t n) {
  return dot_and_add_lanes(w, x, to, factor, n);
}
PATHCOND_SIMD double dot_and_add(const float* w, const double* x, double* to, double factor,
                                 std::int64_t n) {
  return dot_and_add_lanes(w, x, to, factor, n);
}

}  // namespace pathcond
