#pragma once

/// Marks what every backend computes with, and what kernels call, which a CUDA compiler has only
/// the device run.
#if defined(__CUDACC__)
#define PATHCOND_HOST_DEVICE __host__ __device__
#define PATHCOND_KERNEL __device__
#else
#define PATHCOND_HOST_DEVICE
#define PATHCOND_KERNEL
#endif
