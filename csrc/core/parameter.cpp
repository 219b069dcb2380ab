#include "core/parameter.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "core/parallel.hpp"
#include "core/simd.hpp"
#include "core/wide.hpp"

namespace pathcond {
namespace {

/// Magnitudes as bits.
template <class T>
struct Seen {
  Bits<T> lowest = std::numeric_limits<Bits<T>>::max();  ///< 0 left out
  Bits<T> highest = 0;

  void add(Bits<T> low, Bits<T> high) {
    lowest = std::min(lowest, low);
    highest = std::max(highest, high);
  }
  void add(const Seen& other) { add(other.lowest, other.highest); }
  double largest() const { return static_cast<double>(std::bit_cast<T>(highest)); }
};

template <class T>
[[gnu::always_inline]] inline Seen<T> see_wide(const T* x, std::int64_t n) {
  constexpr int kEach = 4;
  constexpr auto kNone = std::numeric_limits<Bits<T>>::max();
  using Vector = Wide<Bits<T>>;
  Vector low[kEach], high[kEach];
  for (int k = 0; k < kEach; ++k) low[k] = Vector{} + kNone, high[k] = Vector{};
  std::int64_t i = 0;
  for (; i + kEach * kWide <= n; i += kEach * kWide)
    for (int k = 0; k < kEach; ++k) {
      const Vector bits = (Vector)load(x + i + k * kWide) & kNoSign<T>;
      const Vector counted = bits == 0 ? Vector{} + kNone : bits;
      low[k] = counted < low[k] ? counted : low[k];
      high[k] = bits > high[k] ? bits : high[k];
    }
  Seen<T> seen;
  for (int k = 0; k < kEach; ++k)
    for (int j = 0; j < kWide; ++j) seen.add(low[k][j], high[k][j]);
  for (; i < n; ++i) {
    const Bits<T> bits = magnitude_bits(x[i]);
    seen.add(bits == 0 ? kNone : bits, bits);
  }
  return seen;
}

/// What was seen of some rows.
template <class T>
struct Part {
  Seen<T> seen;
  std::int64_t lost = 0;
};

template <class T>
constexpr bool kNarrow = sizeof(T) < sizeof(double);

/// Whether x · first may be none of the normal numbers; of a narrow type, for any x.
template <class T>
[[gnu::always_inline]] inline bool is_rare(T x, double first) {
  using Limits = std::numeric_limits<T>;
  if constexpr (kNarrow<T>)
    return !is_normal(first * Limits::denorm_min()) || !is_normal(first * Limits::max());
  else
    return x != 0 && !is_normal(x * first);
}

/// to = by(0) ... by(n - 1), x the entries before.
template <class T, class By>
[[gnu::always_inline]] inline void replace(const T* x, std::int64_t n, T* to, const By& by,
                                           Part<T>& part) {
  Bits<T> highest = 0, lost = 0;
  PATHCOND_INDEPENDENT
  for (std::int64_t i = 0; i < n; ++i) {
    const T fresh = static_cast<T>(by(i));
    const Bits<T> bits = magnitude_bits(fresh), before = magnitude_bits(x[i]);
    to[i] = fresh;
    highest = std::max(highest, bits);
    lost += is_lost<T>(before, bits) ? 1 : 0;
  }
  part.seen.highest = std::max(part.seen.highest, highest);
  part.lost += lost;
}

/// Some entries of a row; every factor is one number or one per entry.
template <bool first_varies, bool second_varies, class T>
[[gnu::always_inline]] inline void scale_some(const T* x, std::int64_t n, const double* first,
                                              const double* second, T* to, Part<T>& part) {
  const double one_first = *first, one_second = *second;
  const auto a = [=](std::int64_t i) { return first_varies ? first[i] : one_first; };
  const auto b = [=](std::int64_t i) { return second_varies ? second[i] : one_second; };
  std::int64_t rare = 0;
  for (std::int64_t i = 0; i < (kNarrow<T> && !first_varies ? 1 : n); ++i)
    rare |= is_rare(x[i], a(i)) ? 1 : 0;
  if (rare) [[unlikely]]
    replace(x, n, to, [=](std::int64_t i) { return product(x[i], a(i), b(i)); }, part);
  else
    replace(x, n, to, [=](std::int64_t i) { return x[i] * a(i) * b(i); }, part);
}

template <bool first_varies, bool second_varies, class T>
[[gnu::always_inline]] inline void scale_rows_wide(const T* x, std::int64_t rows,
                                                   std::int64_t columns, const Factor& first,
                                                   const Factor& second, T* to, Part<T>& part) {
  constexpr std::int64_t kAtOnce = 1024;  // read twice, the second time from cache
  for (std::int64_t row = 0; row < rows; ++row) {
    const double* of_first = first.values + row * first.step(columns);
    const double* of_second = second.values + row * second.step(columns);
    for (std::int64_t i = 0; i < columns; i += kAtOnce)
      scale_some<first_varies, second_varies>(
          x + row * columns + i, std::min(columns - i, kAtOnce), of_first + (first_varies ? i : 0),
          of_second + (second_varies ? i : 0), to + row * columns + i, part);
  }
}

#define PATHCOND_PARAMETER(T)                                                                      \
  PATHCOND_SIMD Seen<T> see(const T* x, std::int64_t n) { return see_wide(x, n); }                 \
  PATHCOND_SIMD void scale_rows(const T* x, std::int64_t rows, std::int64_t columns,               \
                                const Factor& first, const Factor& second, T* to, Part<T>& part) { \
    if (first.by_column && second.by_column)                                                       \
      scale_rows_wide<true, true>(x, rows, columns, first, second, to, part);                      \
    else if (first.by_column)                                                                      \
      scale_rows_wide<true, false>(x, rows, columns, first, second, to, part);                     \
    else if (second.by_column)                                                                     \
      scale_rows_wide<false, true>(x, rows, columns, first, second, to, part);                     \
    else                                                                                           \
      scale_rows_wide<false, false>(x, rows, columns, first, second, to, part);                    \
  }
PATHCOND_PARAMETER(float)
PATHCOND_PARAMETER(double)
#undef PATHCOND_PARAMETER

/// Calls work(worker, begin, end) for parts of 0 ... size - 1, each worth a thread: entries beyond
/// a few millions come from memory, where several threads get more than one.
template <class Work>
void in_parts(std::int64_t size, std::int64_t entries, int threads, const Work& work) {
  constexpr std::int64_t kEntriesOfMemory = 16;  // for every one that a thread is worth
  const int workers = workers_for(entries / kEntriesOfMemory, threads);
  run_workers(workers, [&](int worker) {
    work(worker, size * worker / workers, size * (worker + 1) / workers);
  });
}

}  // namespace

template <class T>
Magnitudes magnitudes(const T* x, std::int64_t size, int threads) {
  std::vector<Seen<T>> parts(static_cast<std::size_t>(threads));
  in_parts(size, size, threads, [&](int worker, std::int64_t begin, std::int64_t end) {
    parts[static_cast<std::size_t>(worker)] = see(x + begin, end - begin);
  });
  Seen<T> seen;
  for (const Seen<T>& part : parts) seen.add(part);
  const auto lowest = std::bit_cast<T>(std::min(seen.lowest, kInfinityBits<T>));
  return {static_cast<double>(lowest), seen.largest()};
}

template <class T>
Scaled scale(const T* x, std::int64_t rows, std::int64_t columns, const Factor& first,
             const Factor& second, T* to, int threads) {
  std::vector<Part<T>> parts(static_cast<std::size_t>(threads));
  in_parts(rows, rows * columns, threads, [&](int worker, std::int64_t begin, std::int64_t end) {
    const auto from = [&](const Factor& factor) {
      return Factor{factor.values + begin * factor.step(columns), factor.by_row, factor.by_column};
    };
    Part<T> part;
    scale_rows(x + begin * columns, end - begin, columns, from(first), from(second),
               to + begin * columns, part);
    parts[static_cast<std::size_t>(worker)] = part;
  });
  Part<T> all;
  for (const Part<T>& part : parts) {
    all.seen.add(part.seen);
    all.lost += part.lost;
  }
  return {all.seen.largest(), all.lost};
}

#define PATHCOND_PARAMETER(T)                                                                   \
  template Magnitudes magnitudes(const T*, std::int64_t, int);                                  \
  template Scaled scale(const T*, std::int64_t, std::int64_t, const Factor&, const Factor&, T*, \
                        int);
PATHCOND_PARAMETER(float)
PATHCOND_PARAMETER(double)
#undef PATHCOND_PARAMETER

}  // namespace pathcond
