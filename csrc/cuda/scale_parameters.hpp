#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "cuda/memory.hpp"
#include "cuda/stream.hpp"

namespace pathcond::cuda {

enum class Dtype : std::int32_t { float32, float64, bfloat16, float16 };

/// A factor of every entry of a parameter: among the factors of all, that of the first entry, and
/// how far on the next one is along every axis.
struct FactorPlace {
  std::int64_t first;
  std::array<std::int64_t, 3> step;
};

/// A parameter on a device as a contiguous array with three axes, and its factors.
struct ScaledParameter {
  void* entries;
  Dtype dtype;
  std::array<std::int64_t, 3> shape;
  FactorPlace first, second;
};

/// Entries of a parameter that its rescaling has harmed.
struct Harmed {
  std::uint64_t not_finite;
  std::uint64_t lost;  ///< shrank to less than the smallest normal number
};

/// x becomes x · first · second for every entry of all parameters, as in `scale`, in one launch.
/// Throws `DeviceError`; some parameters may be changed then.
std::vector<Harmed> scale_parameters(const std::vector<ScaledParameter>& parameters,
                                     std::span<const double> factors, const Stream& stream,
                                     const Memory& memory);

/// The same kernel on the host, for tests; see `solve_emulated`.
std::vector<Harmed> scale_parameters_emulated(const std::vector<ScaledParameter>& parameters,
                                              std::span<const double> factors, bool late,
                                              const Memory& memory);

}  // namespace pathcond::cuda
