#pragma once

/// Compiles a function for several x86-64 levels and picks one when the program is loaded.
/// Fused multiply-adds may differ between levels in the last bit, never between threads.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 12 && \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define PATHCOND_SIMD __attribute__((target_clones("default", "arch=x86-64-v3", "arch=x86-64-v4")))
#define PATHCOND_HAS_SIMD_CLONES 1
#else
#define PATHCOND_SIMD
#define PATHCOND_HAS_SIMD_CLONES 0
#endif

/// Before a loop none of whose iterations reads what another writes.
#if defined(__GNUC__) && !defined(__clang__)
#define PATHCOND_INDEPENDENT _Pragma("GCC ivdep")
#else
#define PATHCOND_INDEPENDENT
#endif

namespace pathcond {

/// The level that the clones run at on this machine.
inline const char* simd_level() {
#if PATHCOND_HAS_SIMD_CLONES
  if (__builtin_cpu_supports("x86-64-v4")) return "x86-64-v4 (AVX-512)";
  if (__builtin_cpu_supports("x86-64-v3")) return "x86-64-v3 (AVX2)";
  return "x86-64 (SSE2)";
#else
  return "as compiled";
#endif
}

}  // namespace pathcond
