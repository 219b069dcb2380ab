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

/// One row; every factor is one number or one per entry.
template <bool first_varies, bool second_varies, class T>
[[gnu::always_inline]] inline void scale_wide(const T* x, std::int64_t n, const double* first,
                                              const double* second, T* to, Seen<T>& seen,
                                              std::int64_t& lost) {
  using Vector = Wide<Bits<T>>;
  Vector high{}, shrunk{};
  std::int64_t i = 0;
  for (; i + kWide <= n; i += kWide) {
    const Wide<T> old = load(x + i);
    Wide<double> product = as_double<T>(old);
    if constexpr (first_varies)
      product *= load(first + i);
    else
      product *= *first;
    if constexpr (second_varies)
      product *= load(second + i);
    else
      product *= *second;
    const Wide<T> fresh = __builtin_convertvector(product, Wide<T>);
    store(to + i, fresh);
    const Vector bits = (Vector)fresh & kNoSign<T>, before = (Vector)old & kNoSign<T>;
    high = bits > high ? bits : high;
    shrunk -= (bits < kSmallestNormalBits<T>)&(bits < before);
  }
  for (int j = 0; j < kWide; ++j) {
    seen.highest = std::max<Bits<T>>(seen.highest, high[j]);
    lost += shrunk[j];
  }
  for (; i < n; ++i) {
    const T old = x[i];
    to[i] = scaled_entry(old, first[first_varies ? i : 0], second[second_varies ? i : 0]);
    const Bits<T> bits = magnitude_bits(to[i]);
    seen.highest = std::max(seen.highest, bits);
    lost += is_lost<T>(magnitude_bits(old), bits);
  }
}

/// What was seen of some rows.
template <class T>
struct Part {
  Seen<T> seen;
  std::int64_t lost = 0;
};

template <bool first_varies, bool second_varies, class T>
[[gnu::always_inline]] inline void scale_rows_wide(const T* x, std::int64_t rows,
                                                   std::int64_t columns, const Factor& first,
                                                   const Factor& second, T* to, Part<T>& part) {
  const std::int64_t first_step = first.step(columns), second_step = second.step(columns);
  for (std::int64_t row = 0; row < rows; ++row)
    scale_wide<first_varies, second_varies>(
        x + row * columns, columns, first.values + row * first_step,
        second.values + row * second_step, to + row * columns, part.seen, part.lost);
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
