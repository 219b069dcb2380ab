#pragma once

/// Marks what every backend computes with.
#if defined(__CUDACC__)
#define PATHCOND_HOST_DEVICE __host__ __device__
#else
#define PATHCOND_HOST_DEVICE
#endif
