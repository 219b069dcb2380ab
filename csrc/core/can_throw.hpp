#pragma once

#include <cstddef>
#include <cstdlib>
#include <exception>

namespace pathcond {

/// Makes this thread take the memory that its first exception needs; false if there is none.
///
/// The C++ library keeps some bytes per thread for exceptions, and the dynamic loader finds them a
/// place when they are first used. Where there is none, because the exception is std::bad_alloc, it
/// ends the process. Small blocks that were just freed are kept for this thread, and serve.
inline bool can_throw() noexcept {
  constexpr std::size_t kBlocks = 4;
  void* volatile blocks[kBlocks] = {};  // volatile: what is allocated to be freed is not left out
  bool found = true;
  for (std::size_t k = 0; k < kBlocks; ++k) {
    blocks[k] = std::malloc(std::size_t{24} << k);
    found = found && blocks[k] != nullptr;
  }
  for (void* block : blocks) std::free(block);
  return found && std::uncaught_exceptions() >= 0;
}

}  // namespace pathcond
