#pragma once

#include <bit>
#include <cstdint>

#include "core/entry.hpp"
#include "core/host_device.hpp"

/// Numbers of 16 bits. A double is rounded to one by way of float, as torch does it.
namespace pathcond::cuda {

/// The upper half of a float.
struct Bfloat16 {
  std::uint16_t bits;

  Bfloat16() = default;
  PATHCOND_KERNEL explicit Bfloat16(double x) {
    constexpr std::uint32_t kNan = 0x7fc0, kInfinite = 0x7f800000, kHalf = 0x7fff;
    const auto wide = std::bit_cast<std::uint32_t>(static_cast<float>(x));
    const bool nan = (wide & ~(std::uint32_t{1} << 31)) > kInfinite;
    bits = static_cast<std::uint16_t>(nan ? kNan : (wide + kHalf + (wide >> 16 & 1)) >> 16);
  }
  PATHCOND_KERNEL explicit operator double() const {
    return static_cast<double>(std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16));
  }
};

/// IEEE's binary16.
struct Half {
  std::uint16_t bits;

  Half() = default;
  PATHCOND_KERNEL explicit Half(double x) {
    constexpr std::uint32_t kNan = 0x7e00, kInfinite = 0x7f800000, kHalf = 0xfff;
    constexpr std::uint32_t kTooLarge = 0x47800000;  // 2^16
    constexpr std::uint32_t kNormal = 0x38800000;    // 2^-14
    const auto wide = std::bit_cast<std::uint32_t>(static_cast<float>(x));
    const std::uint32_t sign = wide >> 31 << 15, size = wide & ~(std::uint32_t{1} << 31);
    std::uint32_t to = 0;
    if (size > kInfinite)
      to = kNan;
    else if (size >= kTooLarge)
      to = kInfiniteHalf;
    else if (size >= kNormal)
      to = (size + kHalf + (size >> 13 & 1) - kBias) >> 13;
    else  // 1/2 has the smallest Half in its last digit
      to = std::bit_cast<std::uint32_t>(std::bit_cast<float>(size) + 0.5f) -
           std::bit_cast<std::uint32_t>(0.5f);
    bits = static_cast<std::uint16_t>(sign | to);
  }
  PATHCOND_KERNEL explicit operator double() const {
    const std::uint32_t sign = static_cast<std::uint32_t>(bits >> 15) << 31, size = bits & 0x7fffu;
    if (size < 0x400) {  // below 2^-14: a multiple of 2^-24
      const float x = static_cast<float>(size) * 0x1p-24f;
      return static_cast<double>(sign ? -x : x);
    }
    const std::uint32_t bias = size < kInfiniteHalf ? kBias : 2 * kBias;
    return static_cast<double>(std::bit_cast<float>(sign | ((size << 13) + bias)));
  }

 private:
  static constexpr std::uint32_t kInfiniteHalf = 0x7c00;
  static constexpr std::uint32_t kBias = (127 - 15) << 23;  ///< of the exponents, in a float
};

}  // namespace pathcond::cuda

namespace pathcond {

template <>
inline constexpr int kFraction<cuda::Bfloat16> = 7;
template <>
inline constexpr int kFraction<cuda::Half> = 10;

}  // namespace pathcond
