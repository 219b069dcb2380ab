#pragma once

#include <stdexcept>
#include <string>

namespace pathcond {

/// An argument is unusable; the message says which, what was expected and what came.
struct InvalidInput : std::invalid_argument {
  using std::invalid_argument::invalid_argument;
};

/// Row indices of a column are unsorted or repeated: legal in SciPy, to be summed by the caller.
struct NotCanonical : std::runtime_error {
  using std::runtime_error::runtime_error;
};

}  // namespace pathcond
