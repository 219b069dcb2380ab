#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <limits>

#include "core/entry.hpp"

/// Eight entries at a time; the compiler cuts them into what the machine's vectors hold.
namespace pathcond {

// All functions over such vectors are inlined: none is ever passed in registers.
#pragma GCC diagnostic ignored "-Wpsabi"

inline constexpr std::int64_t kWide = 8;

template <class T>
struct WideOf {
  typedef T type __attribute__((vector_size(kWide * sizeof(T))));
};
template <class T>
using Wide = typename WideOf<T>::type;

template <class T>
[[gnu::always_inline]] inline Wide<T> load(const T* from) {
  Wide<T> entries;
  std::memcpy(&entries, from, sizeof entries);
  return entries;
}

template <class T>
[[gnu::always_inline]] inline void store(T* to, const Wide<T>& entries) {
  std::memcpy(to, &entries, sizeof entries);
}

template <class G>
[[gnu::always_inline]] inline Wide<double> as_double(const Wide<G>& entries) {
  return __builtin_convertvector(entries, Wide<double>);
}

[[gnu::always_inline]] inline double sum_of(const Wide<double>& x) {
  return ((x[0] + x[1]) + (x[2] + x[3])) + ((x[4] + x[5]) + (x[6] + x[7]));
}

/// The lowest and highest bits of entries seen. Several of each, so that no comparison waits for
/// the one before.
template <class G>
struct Extremes {
  static constexpr int kEach = 4;
  Wide<Bits<G>> low[kEach], high[kEach];

  Extremes() {
    for (int k = 0; k < kEach; ++k) {
      low[k] = Wide<Bits<G>>{} + std::numeric_limits<Bits<G>>::max();
      high[k] = Wide<Bits<G>>{};
    }
  }

  /// `k`: any number below kEach, another one for every next entries.
  [[gnu::always_inline]] void see(int k, const Wide<G>& entries) {
    const auto bits = (Wide<Bits<G>>)entries;
    low[k] = bits < low[k] ? bits : low[k];
    high[k] = bits > high[k] ? bits : high[k];
  }
  [[gnu::always_inline]] void see_one(G entry) {
    const auto bits = std::bit_cast<Bits<G>>(entry);
    low[0][0] = bits < low[0][0] ? bits : low[0][0];
    high[0][0] = bits > high[0][0] ? bits : high[0][0];
  }
};

}  // namespace pathcond
