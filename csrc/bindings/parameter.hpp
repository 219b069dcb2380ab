#pragma once

#include <pybind11/pybind11.h>

namespace pathcond {

/// Adds what reads and scales parameters.
void bind_parameter(pybind11::module_& module);

}  // namespace pathcond
