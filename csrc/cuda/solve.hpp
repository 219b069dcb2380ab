#pragma once

#include <cstdint>
#include <optional>
#include <variant>

#include "core/panels.hpp"
#include "core/solve.hpp"
#include "cuda/entries.hpp"
#include "cuda/memory.hpp"
#include "cuda/stream.hpp"

namespace pathcond::cuda {

/// Tensors whose g lies on a device; the neurons they enter and leave are on the host.
using DevicePanels = std::variant<Panels<float>, Panels<double>, Panels<Bfloat16>>;

/// B and g, both on a device.
struct DeviceColumns {
  template <class Index>
  using View = std::variant<IncidenceView<Index, std::int8_t>, IncidenceView<Index, std::int32_t>,
                            IncidenceView<Index, std::int64_t>, IncidenceView<Index, float>,
                            IncidenceView<Index, double>>;

  std::variant<View<std::int32_t>, View<std::int64_t>> B;
  std::variant<const float*, const double*, const Bfloat16*> g;
};

using DeviceProblem = std::variant<DevicePanels, DeviceColumns>;

/// `solve` with weights that stay on the device. nullopt where only the host can, or can
/// say what is wrong: see `SortedRows::read`. Throws `DeviceError`.
std::optional<Solution> solve(const DeviceProblem& problem, const Stream& stream,
                              const Memory& memory, const Options& options);

struct Emulated {
  std::optional<Solution> solution;
  std::int64_t waits;   ///< how often the host would have waited for the device
  std::int64_t copied;  ///< bytes between host and device
};

/// The same kernels on the host, for tests: g lies in the host's memory. When things happen, and in
/// which order, must not matter: see `HostMachine`.
Emulated solve_emulated(const DeviceProblem& problem, bool late, const Memory& memory,
                        const Options& options);

}  // namespace pathcond::cuda
