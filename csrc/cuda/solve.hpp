#pragma once

#include <cstdint>
#include <optional>
#include <variant>

#include "core/panels.hpp"
#include "core/solve.hpp"
#include "cuda/entries.hpp"
#include "cuda/memory.hpp"

namespace pathcond::cuda {

/// Tensors whose g lies on a device; the neurons they enter and leave are on the host.
using DevicePanels = std::variant<Panels<float>, Panels<double>, Panels<Bfloat16>>;

/// Where and in what order kernels run.
struct Stream {
  int device;
  std::uintptr_t stream;  ///< a cudaStream_t; returns when its work so far is done
};

/// `solve` with weights that stay on the device. nullopt where only the host can: see
/// `merge_panels`, and cd, whose neurons follow one another one by one. Throws `DeviceError`.
std::optional<Solution> solve(const DevicePanels& panels, const Stream& stream,
                              const Memory& memory, const Options& options);

/// The same kernels on the host, for tests: g lies in the host's memory. `descending`: blocks and
/// threads run in the reverse order, which must not matter.
std::optional<Solution> solve_emulated(const DevicePanels& panels, bool descending,
                                       const Memory& memory, const Options& options);

}  // namespace pathcond::cuda
