#pragma once

#include <cstdint>

/// The index and value types of B that are read in place; every other type is converted once.
#define PATHCOND_FOR_EACH_INCIDENCE(APPLY) \
  APPLY(std::int32_t, std::int8_t)         \
  APPLY(std::int32_t, std::int32_t)        \
  APPLY(std::int32_t, std::int64_t)        \
  APPLY(std::int32_t, float)               \
  APPLY(std::int32_t, double)              \
  APPLY(std::int64_t, std::int8_t)         \
  APPLY(std::int64_t, std::int32_t)        \
  APPLY(std::int64_t, std::int64_t)        \
  APPLY(std::int64_t, float)               \
  APPLY(std::int64_t, double)
