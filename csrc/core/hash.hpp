#pragma once

#include <bit>
#include <cstdint>

#include "core/host_device.hpp"

namespace pathcond {

/// A bijection of 64-bit integers in which every output bit depends on every input bit
/// (the finaliser of SplitMix64, Steele, Lea and Flood 2014).
PATHCOND_HOST_DEVICE inline std::uint64_t hash_bits(std::uint64_t z) {
  z += 0x9e3779b97f4a7c15U;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
  return z ^ (z >> 31);
}

/// Hash of one non-zero of B; sums of these identify sets of non-zeros in any order.
inline std::uint64_t hash_entry(std::int64_t column, double value, std::uint64_t seed) {
  return hash_bits(static_cast<std::uint64_t>(column) +
                   hash_bits(std::bit_cast<std::uint64_t>(value) ^ seed));
}

}  // namespace pathcond
