#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "core/host_device.hpp"

/// One entry of a parameter, as every backend sees and scales it.
namespace pathcond {

/// The bits of numbers that are not negative order like the numbers; those of all others, NaN
/// included, lie outside the range of the positive ones.
template <class T>
using Bits = std::conditional_t<sizeof(T) == 8, std::int64_t,
                                std::conditional_t<sizeof(T) == 4, std::int32_t, std::int16_t>>;

/// Binary digits of a normal number after the leading one.
template <class T>
inline constexpr int kFraction = std::numeric_limits<T>::digits - 1;

template <class T>
inline constexpr Bits<T> kNoSign = std::numeric_limits<Bits<T>>::max();
template <class T>
inline constexpr Bits<T> kSmallestNormalBits = static_cast<Bits<T>>(Bits<T>{1} << kFraction<T>);
template <class T>
inline constexpr Bits<T> kInfinityBits = static_cast<Bits<T>>(kNoSign<T> & -kSmallestNormalBits<T>);

/// |x| as bits, which order like the numbers, NaN last.
template <class T>
PATHCOND_HOST_DEVICE Bits<T> magnitude_bits(T x) {
  return static_cast<Bits<T>>(std::bit_cast<Bits<T>>(x) & kNoSign<T>);
}

PATHCOND_HOST_DEVICE inline bool is_normal(double x) {
  const Bits<double> size = magnitude_bits(x);
  return size >= kSmallestNormalBits<double> && size < kInfinityBits<double>;
}

/// x · first · second, as if x · first always were a normal number: a multiple of the smallest
/// number has few bits left.
PATHCOND_HOST_DEVICE inline double product(double x, double first, double second) {
  const double by_first = x * first;
  if (x == 0 || second == 1 || is_normal(by_first)) return by_first * second;
  int of_x, of_first, of_second;
  const double mantissa =
      std::frexp(x, &of_x) * std::frexp(first, &of_first) * std::frexp(second, &of_second);
  return std::ldexp(mantissa, of_x + of_first + of_second);
}

/// The `product`, rounded once.
template <class T>
PATHCOND_HOST_DEVICE T scaled_entry(T x, double first, double second) {
  return static_cast<T>(product(static_cast<double>(x), first, second));
}

/// Whether an entry shrank to less than the smallest normal number, and so may have lost bits.
template <class T>
PATHCOND_HOST_DEVICE bool is_lost(Bits<T> before, Bits<T> fresh) {
  return fresh < kSmallestNormalBits<T> && fresh < before;
}

}  // namespace pathcond
