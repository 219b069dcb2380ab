#pragma once

#include <cstdint>

namespace pathcond::cuda {

/// Where and in what order kernels run.
struct Stream {
  int device;
  std::uintptr_t stream;  ///< a cudaStream_t; returns when its work so far is done
};

}  // namespace pathcond::cuda
